# Debian's ejabberd.

FROM debian:bookworm-slim
# A fixed number, because this user must be able to read a certificate's key.
RUN groupadd --gid 5222 ejabberd \
    && useradd --uid 5222 --gid 5222 --home-dir /var/lib/ejabberd --no-create-home --shell /bin/sh ejabberd \
    && apt-get update \
    && apt-get install --no-install-recommends -y bash ejabberd erlang-p1-pgsql openssl postgresql-client \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -m 1777 /run/ejabberd
COPY deploy/compose/ejabberd.yml /etc/ejabberd/ephemerd.yml
COPY deploy/compose/ejabberd.sh /usr/local/bin/start-ejabberd
COPY deploy/compose/listening.sh /usr/local/bin/listening
COPY deploy/compose/certificate.sh /usr/local/bin/certificate
# The clone may have been made under umask 077.
RUN chmod 644 /etc/ejabberd/ephemerd.yml && chmod 755 /usr/local/bin/*
USER ejabberd
EXPOSE 5222 5269
CMD ["start-ejabberd"]

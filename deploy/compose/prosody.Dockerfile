# Debian's Prosody with our companion module.

FROM debian:bookworm-slim
# A fixed number, because this user must be able to read a certificate's key.
RUN groupadd --gid 5222 prosody \
    && useradd --uid 5222 --gid 5222 --home-dir /var/lib/prosody --no-create-home --shell /usr/sbin/nologin prosody \
    && apt-get update \
    && apt-get install --no-install-recommends -y bash lua-dbi-postgresql lua-unbound openssl prosody \
    && rm -rf /var/lib/apt/lists/* /etc/prosody/conf.d/* \
    && install -d -m 1777 /run/prosody
COPY deploy/prosody/mod_ephemerd /usr/local/lib/prosody/modules/mod_ephemerd
COPY deploy/compose/prosody.cfg.lua /etc/prosody/prosody.cfg.lua
COPY deploy/compose/prosody.sh /usr/local/bin/start-prosody
COPY deploy/compose/listening.sh /usr/local/bin/listening
COPY deploy/compose/certificate.sh /usr/local/bin/certificate
# The clone may have been made under umask 077.
RUN chmod -R a+rX /usr/local/lib/prosody /etc/prosody && chmod 755 /usr/local/bin/*
USER prosody
EXPOSE 5222 5269
CMD ["start-prosody"]

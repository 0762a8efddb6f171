# ejabberd of Debian. Not run by an engine so far: docs/install-compose.md says what was.

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --no-install-recommends -y bash ejabberd erlang-p1-pgsql postgresql-client \
    && rm -rf /var/lib/apt/lists/*
COPY deploy/compose/ejabberd.yml /etc/ejabberd/ephemerd.yml
COPY --chmod=755 deploy/compose/ejabberd.sh /usr/local/bin/start-ejabberd
USER ejabberd
EXPOSE 5222 5269
CMD ["/usr/local/bin/start-ejabberd"]

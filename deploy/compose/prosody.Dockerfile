# Prosody of Debian with our companion module. Not run by an engine so far: docs/install-compose.md says what was.

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --no-install-recommends -y bash lua-dbi-postgresql lua-unbound prosody \
    && rm -rf /var/lib/apt/lists/* /etc/prosody/conf.d/*
COPY deploy/prosody/mod_ephemerd /usr/local/lib/prosody/modules/mod_ephemerd
COPY deploy/compose/prosody.cfg.lua /etc/prosody/prosody.cfg.lua
COPY --chmod=755 deploy/compose/prosody.sh /usr/local/bin/start-prosody
USER prosody
EXPOSE 5222 5269
CMD ["/usr/local/bin/start-prosody"]

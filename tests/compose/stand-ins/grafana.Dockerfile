# A stand-in for grafana/grafana: it only says that it is there. Grafana is not to be had as a package of Debian.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install --no-install-recommends -y busybox wget && rm -rf /var/lib/apt/lists/* \
    && install -d -m 777 /var/lib/grafana && install -d /srv/api && touch /srv/api/health
USER 472
CMD ["busybox", "httpd", "-f", "-p", "3000", "-h", "/srv"]

# A stand-in for prom/prometheus, by Debian's package, which is older.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install --no-install-recommends -y prometheus wget && rm -rf /var/lib/apt/lists/* /etc/prometheus/* \
    && install -d -o nobody -g nogroup /prometheus
USER nobody
ENTRYPOINT ["/usr/bin/prometheus"]

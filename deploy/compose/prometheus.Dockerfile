# Prometheus with our configuration and alert rules.
FROM prom/prometheus:v2.53.5
COPY deploy/prometheus/prometheus.yml deploy/prometheus/ephemerd.rules.yml /etc/prometheus/
# The clone may have been made under umask 077.
USER root
RUN chmod 644 /etc/prometheus/*.yml
USER nobody

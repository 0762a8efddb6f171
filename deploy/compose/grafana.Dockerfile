# Grafana with our data source and dashboard.
FROM grafana/grafana:10.4.19
COPY deploy/grafana/provisioning /etc/grafana/provisioning
COPY deploy/grafana/dashboards /etc/grafana/dashboards
# The clone may have been made under umask 077.
USER root
RUN chmod -R a+rX /etc/grafana/provisioning /etc/grafana/dashboards
USER 472

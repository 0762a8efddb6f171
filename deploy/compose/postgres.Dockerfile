# Creates the roles and gives the grants: psql from PostgreSQL's own image, with our scripts in it.
FROM postgres:15
COPY deploy/compose/roles.sh deploy/compose/grants.sh deploy/grants.sql /ephemerd/
# The clone may have been made under umask 077.
RUN chmod 755 /ephemerd /ephemerd/*.sh && chmod 644 /ephemerd/*.sql

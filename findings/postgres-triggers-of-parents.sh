#!/usr/bin/env bash
# Which trigger sees that a row of a child table went depends on how the child hangs on its parent.
#
# Version: PostgreSQL 15.18 (Debian 12).
# Guess: a row trigger on a parent fires for the rows of its children, inherited or partitioned; a statement trigger on
#   a partition fires when a DELETE through the parent touches that partition.
# Behaviour: a row trigger is cloned to partitions, not to inheriting tables: DELETE FROM the parent takes their rows, and no
#   row trigger of the parent sees it. A statement trigger belongs to the table that the statement names and to no
#   other, so one on a partition is passed over although its row went.
# Seen, one row deleted through the parent each time, then one named by its own table:
# | partitioned, through the parent: parent ROW, parent STATEMENT
# | partitioned, the partition named: parent ROW, child STATEMENT
# | inherited, through the parent: parent STATEMENT
# | inherited, the child named: child STATEMENT
. "$(dirname "$0")/lib.sh"

postgres_15

"${PSQL[@]}" <<'SQL'
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% %', tg_argv[0], tg_level;
    RETURN NULL;
END $$;
CREATE TABLE partitioned (id integer) PARTITION BY RANGE (id);
CREATE TABLE partitioned_child PARTITION OF partitioned FOR VALUES FROM (0) TO (9);
CREATE TABLE inherited (id integer);
CREATE TABLE inherited_child () INHERITS (inherited);
CREATE TRIGGER by_row AFTER DELETE ON partitioned FOR EACH ROW EXECUTE FUNCTION tell('parent');
CREATE TRIGGER by_statement AFTER DELETE ON partitioned EXECUTE FUNCTION tell('parent');
CREATE TRIGGER by_statement AFTER DELETE ON partitioned_child EXECUTE FUNCTION tell('child');
CREATE TRIGGER by_row AFTER DELETE ON inherited FOR EACH ROW EXECUTE FUNCTION tell('parent');
CREATE TRIGGER by_statement AFTER DELETE ON inherited EXECUTE FUNCTION tell('parent');
CREATE TRIGGER by_statement AFTER DELETE ON inherited_child EXECUTE FUNCTION tell('child');
SQL

# The triggers that fire when the child's only row is deleted from the table that is named.
fired() {
    local table=$1 child=$2
    "${PSQL[@]}" -c "INSERT INTO $child VALUES (1)"
    "${PSQL[@]}" -c "DELETE FROM $table" 2>&1 | sed -n 's/^NOTICE:  //p' | paste -sd, | sed 's/,/, /g'
}

{
    echo "partitioned, through the parent: $(fired partitioned partitioned_child)"
    echo "partitioned, the partition named: $(fired partitioned_child partitioned_child)"
    echo "inherited, through the parent: $(fired inherited inherited_child)"
    echo "inherited, the child named: $(fired inherited_child inherited_child)"
} | as_described

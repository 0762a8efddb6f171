#!/usr/bin/env bash
# ejabberd's command for offline messages that have expired does nothing where they are in SQL, and succeeds.
#
# Version: ejabberd 23.01 with Mnesia and PostgreSQL 15.18 (Debian 12).
# Guess: delete_expired_messages removes from either storage what its sender gave a time (XEP-0023) that has passed.
# Behaviour: from Mnesia. For SQL the function is there and empty: the queue keeps what has expired until its owner logs in, or until
#   delete_old_messages finds it old. Of whoever never logs in again, it stays in the table.
# Seen, of a message that expires after a second and one that does not, three seconds later:
# | Mnesia: 2 queued, 1 after delete_expired_messages (ok)
# | SQL: 2 queued, 2 after delete_expired_messages (ok)
. "$(dirname "$0")/lib.sh"

debian ejabberd=23.01-1 erlang-base=1:25.2.3+dfsg-1+deb12u4 erlang-p1-pgsql=1.1.20-1
postgres_15
"${PSQL[@]}" -f /usr/share/ejabberd/sql/pg.sql >>"$WORK/log" 2>&1

cat >"$WORK/ejabberd.yml" <<'YAML'
hosts: [localhost, sql.localhost]
loglevel: error
sql_type: pgsql
sql_server: "127.0.0.1"
sql_port: PORT
sql_database: postgres
sql_username: finding
sql_password: unused
sql_pool_size: 1
host_config:
  localhost:
    modules:
      mod_offline: {}
  sql.localhost:
    modules:
      mod_offline: {db_type: sql}
YAML
ejabberd_module "main(\"$WORK/ejabberd.yml\", \"${PSQL[6]}/.s.PGSQL.5432\")" <<'ERLANG' | grep -E '^(Mnesia|SQL):' | as_described
-module(finding).
-export([main/2]).

main(Config, Socket) ->
    ok = relay:start(Config, Socket),
    {ok, _} = application:ensure_all_started(ejabberd),
    Hosts = [{"Mnesia", <<"localhost">>}, {"SQL", <<"sql.localhost">>}],
    [begin
        ok = ejabberd_auth:try_register(<<"alice">>, Host, <<"unused">>),
        send(Host, "<body>stays</body>"),
        send(Host, "<body>expires</body><x xmlns='jabber:x:expire' seconds='1'/>"),
        await(Host, 300)
    end || {_, Host} <- Hosts],
    timer:sleep(3000),
    Before = [queued(Host) || {_, Host} <- Hosts],
    Done = ejabberd_commands:execute_command2(delete_expired_messages, [], #{caller_module => ejabberd_ctl}),
    [io:format("~s: ~b queued, ~b after delete_expired_messages (~w)~n", [Storage, Count, queued(Host), Done])
        || {{Storage, Host}, Count} <- lists:zip(Hosts, Before)].

send(Host, Payload) ->
    Message = ["<message xmlns='jabber:client' type='chat' from='bob@example.org/1' to='alice@", Host, "'>", Payload, "</message>"],
    ejabberd_router:route(xmpp:decode(fxml_stream:parse_element(iolist_to_binary(Message)))).

queued(Host) ->
    case mod_offline:count_offline_messages(<<"alice">>, Host) of
        {cache, Count} -> Count;
        Count -> Count
    end.

await(Host, Tries) when Tries > 0 ->
    case queued(Host) of
        2 -> ok;
        _ -> timer:sleep(100), await(Host, Tries - 1)
    end.
ERLANG

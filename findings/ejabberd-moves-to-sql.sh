#!/usr/bin/env bash
# What ejabberd exports for SQL is not in PostgreSQL what it was: line breaks are \n, and waiting messages are new to the clean-up.
#
# Version: ejabberd 23.01 with Mnesia and PostgreSQL 15.18 (Debian 12); the function behind export2sql, for two of the modules.
# Guess: after export2sql and psql the archive and the offline messages are in SQL as they were in Mnesia, with their times.
# Behaviour: a line break in a body is written as a backslash and an n, and a backslash as two. MySQL reads them so; PostgreSQL would
#   with standard_conforming_strings off, which the file does not set. Offline messages have no time of their own in the file,
#   so the table takes the moment of the import: delete_old_messages finds none of them for as long again.
# Seen, of a body of two lines with a backslash, and of a message that has waited for 60 days:
# | Mnesia, archive: "C:\Temp", then "done"
# | SQL, archive: "C:\\Temp\ndone"
# | Mnesia: 1 queued, 0 after delete_old_messages 30
# | SQL: 1 queued, 1 after delete_old_messages 30
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
      mod_mam: {default: always}
      mod_muc: {}
      mod_offline: {}
  sql.localhost:
    modules:
      mod_mam: {db_type: sql, default: always}
      mod_offline: {db_type: sql}
YAML
ejabberd_module "main(\"$WORK/ejabberd.yml\", \"${PSQL[6]}/.s.PGSQL.5432\", \"$WORK\", \"${PSQL[*]}\")" <<'ERLANG' | grep -E '^(Mnesia|SQL)' | as_described
-module(finding).
-export([main/4]).

-define(MNESIA, <<"localhost">>).
-define(SQL, <<"sql.localhost">>).

main(Config, Socket, Folder, Psql) ->
    ok = relay:start(Config, Socket),
    {ok, _} = application:ensure_all_started(ejabberd),
    ok = ejabberd_auth:try_register(<<"alice">>, ?MNESIA, <<"unused">>),
    ejabberd_router:route(xmpp:decode(fxml_stream:parse_element(
        <<"<message xmlns='jabber:client' type='chat' from='bob@example.org/1' to='alice@localhost'><body>C:\\Temp\ndone</body></message>">>))),
    await(300),
    [Queued] = mnesia:dirty_match_object(mnesia:table_info(offline_msg, wild_pattern)),
    ok = mnesia:dirty_delete_object(Queued),
    {Mega, Seconds, Micro} = element(3, Queued),
    Then = Mega * 1000000 + Seconds - 60 * 86400,
    ok = mnesia:dirty_write(setelement(3, Queued, {Then div 1000000, Then rem 1000000, Micro})),
    [ok = ejd2sql:export(?MNESIA, filename:join(Folder, atom_to_list(Module) ++ ".sql"), Module) || Module <- [mod_mam, mod_offline]],
    os:cmd("cat " ++ Folder ++ "/mod_*.sql | " ++ Psql ++ " >>" ++ Folder ++ "/log 2>&1"),
    io:format("Mnesia, archive: ~s~n", [archived(?MNESIA)]),
    io:format("SQL, archive: ~s~n", [archived(?SQL)]),
    Before = [queued(Host) || Host <- [?MNESIA, ?SQL]],
    ejabberd_commands:execute_command2(delete_old_messages, [30], #{caller_module => ejabberd_ctl}),
    [io:format("~s: ~b queued, ~b after delete_old_messages 30~n", [Storage, Count, queued(Host)])
        || {Storage, Host, Count} <- lists:zip3(["Mnesia", "SQL"], [?MNESIA, ?SQL], Before)].

% The body of the only message, its lines in quotes.
archived(Host) ->
    Alice = jid:make(<<"alice">>, Host),
    {[{_, _, Forwarded}], _, _} = mod_mam:select(Host, Alice, Alice, [], undefined, chat, all),
    Body = fxml:get_path_s(xmpp:encode(Forwarded), [{elem, <<"message">>}, {elem, <<"body">>}, cdata]),
    lists:join(", then ", [[$", Line, $"] || Line <- binary:split(Body, <<"\n">>, [global])]).

queued(Host) ->
    length(mod_offline:get_offline_els(<<"alice">>, Host)).

await(Tries) when Tries > 0 ->
    case queued(?MNESIA) of
        1 -> ok;
        0 -> timer:sleep(100), await(Tries - 1)
    end.
ERLANG

#!/usr/bin/env bash
# What was deleted from a Mnesia table stays in its file until enough else is written: neither dumping the log nor a restart takes it out.
#
# Version: Mnesia of Erlang/OTP 25.2.3 (Debian 12).
# Guess: a table in memory with a copy on disc (disc_copies) has its file written anew at a restart at the latest, without what was deleted; with
#   disc_only_copies the words stay where they were.
# Behaviour: they stay in both. With disc_copies a deletion is a line in a log, which is merged into the file only when it has
#   a quarter of the file's size (dc_dump_limit is 4): after a single deletion, dump_log and restarts only make it a line in another log. With
#   disc_only_copies the place is free, and holds the words until something is written over them.
#   A backup does not have them.
# Seen, one of 2,001 objects deleted in each of two tables, and the files that have its words:
# | written: disc_copies.DCD, disc_only_copies.DAT
# | deleted: disc_copies.DCD, disc_only_copies.DAT
# | log dumped: disc_copies.DCD, disc_only_copies.DAT
# | restarted: disc_copies.DCD, disc_only_copies.DAT
# | backed up: disc_copies.DCD, disc_only_copies.DAT
# | 20 of 2,000 written: disc_copies.DCD, disc_only_copies.DAT
# | 2,000 written: none
. "$(dirname "$0")/lib.sh"

debian erlang-base=1:25.2.3+dfsg-1+deb12u4
programs erl erlc

cat >"$WORK/finding.erl" <<'ERLANG'
-module(finding).
-export([main/1]).

-define(TABLES, [disc_copies, disc_only_copies]).

main(Folder) ->
    logger:set_primary_config(level, none),
    ok = application:set_env(mnesia, dir, Folder),
    ok = mnesia:create_schema([node()]),
    ok = mnesia:start(),
    [{atomic, ok} = mnesia:create_table(Table, [{Table, [node()]}]) || Table <- ?TABLES],
    write(lists:seq(1, 2000), <<"text">>),
    write([0], <<"secret words">>),
    restart(),
    write(lists:seq(1, 2000), <<"text">>),
    restart(),
    show("written", Folder),
    [ok = mnesia:activity(sync_transaction, fun() -> mnesia:delete({Table, 0}) end) || Table <- ?TABLES],
    ok = mnesia:sync_log(),
    show("deleted", Folder),
    dumped = mnesia:dump_log(),
    show("log dumped", Folder),
    restart(),
    show("restarted", Folder),
    ok = mnesia:backup(filename:join(Folder, "backup")),
    show("backed up", Folder),
    write(lists:seq(1, 20), <<"next">>),
    restart(),
    show("20 of 2,000 written", Folder),
    write(lists:seq(3001, 5000), <<"next">>),
    restart(),
    show("2,000 written", Folder).

write(Keys, Text) ->
    [ok = mnesia:dirty_write({Table, Key, <<Text/binary, (integer_to_binary(Key))/binary>>}) || Table <- ?TABLES, Key <- Keys].

restart() ->
    dumped = mnesia:dump_log(),
    stopped = mnesia:stop(),
    ok = mnesia:start(),
    ok = mnesia:wait_for_tables(?TABLES, 30000).

show(When, Folder) ->
    Files = [File || File <- lists:sort(filelib:wildcard("*", Folder)), has(filename:join(Folder, File))],
    io:format("~s: ~s~n", [When, case Files of [] -> "none"; _ -> lists:join(", ", Files) end]).

has(File) ->
    {ok, Bytes} = file:read_file(File),
    binary:match(Bytes, <<"secret words">>) =/= nomatch.
ERLANG
erlc -o "$WORK" "$WORK/finding.erl"

erl -noshell -pa "$WORK" -eval "finding:main(\"$WORK/mnesia\"), halt()." 2>>"$WORK/log" | as_described

#!/usr/bin/env bash
# mnesia:select with a limit gives more than the limit, from a bag that is on disc only.
#
# Version: Mnesia of Erlang/OTP 25.2.3 (Debian 12).
# Guess: a limit of 10 gives ten objects at a time, wherever the table is.
# Behaviour: so with ram_copies and disc_copies. With disc_only_copies all objects of the first key came at once, ten times as
#   many as asked for. What takes a limit for a bound on memory, or for the size of a page, must count for itself.
# Seen, the objects of the first answer from 1000, 100 for each of ten keys:
# | ram_copies: 10
# | disc_copies: 10
# | disc_only_copies: 100
. "$(dirname "$0")/lib.sh"

debian erlang-base=1:25.2.3+dfsg-1+deb12u4
programs erl erlc

cat >"$WORK/finding.erl" <<'ERLANG'
-module(finding).
-export([main/1]).

main(Folder) ->
    ok = application:set_env(mnesia, dir, Folder),
    ok = mnesia:create_schema([node()]),
    ok = mnesia:start(),
    [ask(Copies) || Copies <- [ram_copies, disc_copies, disc_only_copies]],
    halt().

ask(Table) ->
    {atomic, ok} = mnesia:create_table(Table, [{Table, [node()]}, {type, bag}]),
    [ok = mnesia:dirty_write({Table, N rem 10, N}) || N <- lists:seq(1, 1000)],
    {atomic, {Found, _}} = mnesia:transaction(fun() -> mnesia:select(Table, [{'_', [], ['$_']}], 10, read) end),
    io:format("~s: ~b~n", [Table, length(Found)]).
ERLANG

erlc -o "$WORK" "$WORK/finding.erl" >>"$WORK/log" 2>&1 || fail "erlc: $(tail -3 "$WORK/log")"
erl -noshell -pa "$WORK" -kernel logger_level none -eval "finding:main(\"$WORK/mnesia\")" 2>>"$WORK/log" | as_described

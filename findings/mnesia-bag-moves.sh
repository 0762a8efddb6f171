#!/usr/bin/env bash
# Writing an object into a Mnesia bag that has it already moves it to the end, if the table is on disc only.
#
# Version: Mnesia of Erlang/OTP 25.2.3 (Debian 12).
# Guess: a bag has each object once, so writing one again changes nothing, wherever the table is: the three kinds of copies
#   differ in speed and memory only.
# Behaviour: so with ram_copies and disc_copies. In a table of disc_only_copies the object is taken out and put in again
#   behind all others of its key, and mnesia:read gives another order from then on, also after a restart. What relies on the
#   order of a bag, as a list of messages by their time of arrival does, must sort by a field.
# Seen, five objects of one key, after the third was written again:
# | ram_copies: [1,2,3,4,5]
# | disc_copies: [1,2,3,4,5]
# | disc_only_copies: [1,2,4,5,3]
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
    [copies(Kind) || Kind <- [ram_copies, disc_copies, disc_only_copies]].

copies(Kind) ->
    {atomic, ok} = mnesia:create_table(Kind, [{Kind, [node()]}, {type, bag}, {attributes, [owner, id]}]),
    Write = fun(Id) -> {atomic, ok} = mnesia:transaction(fun() -> mnesia:write({Kind, alice, Id}) end) end,
    lists:foreach(Write, [1, 2, 3, 4, 5]),
    Write(3),
    {atomic, Objects} = mnesia:transaction(fun() -> mnesia:read(Kind, alice) end),
    io:format("~s: ~w~n", [Kind, [Id || {_, _, Id} <- Objects]]).
ERLANG
erlc -o "$WORK" "$WORK/finding.erl"

erl -noshell -pa "$WORK" -eval "finding:main(\"$WORK/mnesia\"), halt()." 2>>"$WORK/log" | as_described

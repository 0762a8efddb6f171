#!/usr/bin/env bash
# Prosody folds the name before the @ to lower case, but for letters that are newer than nodeprep; ejabberd has no such names.
#
# Version: Prosody 0.12.3-1+deb12u1, erlang-p1-stringprep 1.0.29-2 (ejabberd 23.01), both of Debian 12.
# Guess: a name is folded to lower case as a whole, or refused as a whole, so that one spelling with capital letters is one account.
# Behaviour: nodeprep (RFC 3491 and 6122) knows Unicode 3.2. What came later Prosody stores as it is: STRASSE and straße are one account,
#   and with the capital sharp s of Unicode 5.1 it is another one, which has a capital letter in its name. A name of an emoji exists,
#   too. ejabberd refuses both, so that the two servers do not agree on which addresses there are.
# Seen:
# | STRASSE: Prosody strasse, ejabberd strasse
# | straße: Prosody strasse, ejabberd strasse
# | STRAẞE: Prosody straẞe, ejabberd error
# | 😀: Prosody 😀, ejabberd error
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 erlang-p1-stringprep=1.0.29-2 lua5.4=5.4.4-3+deb12u1
programs lua5.4 erl

by_prosody() {
    LUA_CPATH='/usr/lib/prosody/?.so;;' LUA_PATH='/usr/lib/prosody/?.lua;;' lua5.4 -e \
        'print(require "util.encodings".stringprep.nodeprep(arg[1]) or "error")' /dev/null "$1"
}
by_ejabberd() {
    erl -noshell /usr/lib/erlang/lib/p1_stringprep-*/ebin -eval '
        {ok, _} = application:ensure_all_started(stringprep),
        [Name] = init:get_plain_arguments(),
        case stringprep:nodeprep(unicode:characters_to_binary(Name)) of
            error -> io:format("error");
            Folded -> io:format("~ts", [Folded])
        end, halt().' -extra "$1"
}

for name in STRASSE straße STRAẞE 😀; do
    echo "$name: Prosody $(by_prosody "$name"), ejabberd $(by_ejabberd "$name")"
done | as_described

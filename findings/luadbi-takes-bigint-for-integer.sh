#!/usr/bin/env bash
# LuaDBI reads a bigint of PostgreSQL as 32 bits: the rest of the number is lost without an error.
#
# Version: lua-dbi-postgresql 0.7.2-4 and Lua 5.4.4 (Debian 12), PostgreSQL 15.18.
# Guess: Lua 5.4 has integers of 64 bits, so a bigint arrives as it is.
# Behaviour: whatever PostgreSQL calls an integer, of two, four or eight bytes, is read into 32 bits and wraps around. A time in
#   microseconds becomes another number, and 2^32 is 0. As numeric it is a float, exact up to 2^53; as text it is exact.
# Seen:
# | bigint 1795318458217472: 653652992
# | bigint 4294967296: 0
# | bigint 2147483648: -2147483648
# | numeric 1795318458217472: 1795318458217472
# | text 1795318458217472: 1795318458217472
. "$(dirname "$0")/lib.sh"

debian lua-dbi-postgresql=0.7.2-4 lua5.4=5.4.4-3+deb12u1
programs lua5.4
postgres_15

cat >"$WORK/finding.lua" <<'LUA'
local folder = ...
local connection = assert(require "DBI".Connect("PostgreSQL", "postgres", "finding", nil, folder, 5432))

local function ask(of, number)
    local statement = assert(connection:prepare("SELECT '" .. number .. "'::" .. of .. " AS it"))
    assert(statement:execute())
    for row in statement:rows(true) do
        local it = math.type(row.it) == "float" and ("%.0f"):format(row.it) or tostring(row.it)
        print(of .. " " .. number .. ": " .. it)
    end
end

ask("bigint", "1795318458217472")
ask("bigint", "4294967296")
ask("bigint", "2147483648")
ask("numeric", "1795318458217472")
ask("text", "1795318458217472")
LUA
lua5.4 "$WORK/finding.lua" "$WORK/pg0" | as_described

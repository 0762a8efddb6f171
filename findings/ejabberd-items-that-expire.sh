#!/usr/bin/env bash
# ejabberd takes `pubsub#item_expire`, shows it, and removes nothing: not by itself, and on a service not by its command for that either.
#
# Version: ejabberd 23.01 (Debian 12), with Mnesia; 24.12 (Debian 13) and 26.07 answered the same.
# Guess: the items stay, and are handed out, until the administrator runs delete_expired_pubsub_items, which removes them.
# Behaviour: the command looks for nodes by the names of the virtual hosts. Those of PEP are there, and their items go; those of the publish-
#   subscribe service have the service's name, are not found, and the command succeeds. delete_old_pubsub_items is the same.
# Seen, of items that expire after a second, three seconds later:
# | service: item_expire is 1
# | service: 3 items, 3 after delete_expired_pubsub_items (ok)
# | service: 3 items, 3 after delete_old_pubsub_items 0 (ok)
# | PEP: 3 items, 0 after delete_expired_pubsub_items (ok)
. "$(dirname "$0")/lib.sh"

debian ejabberd=23.01-1 erlang-base=1:25.2.3+dfsg-1+deb12u4

cat >"$WORK/ejabberd.yml" <<'YAML'
hosts: [localhost]
loglevel: error
modules:
  mod_caps: {}
  mod_disco: {}
  mod_pubsub: {plugins: [flat, pep]}
YAML
ejabberd_module "main()" <<'ERLANG' | grep -E '^(service|PEP):' | as_described
-module(finding).
-export([main/0]).

-define(SERVICE, <<"pubsub.localhost">>).
-define(PUBSUB, "http://jabber.org/protocol/pubsub").

main() ->
    {ok, _} = application:ensure_all_started(ejabberd),
    ok = ejabberd_router:register_route(<<"client.localhost">>, <<"localhost">>),
    true = lists:member(?SERVICE, ejabberd_router:get_all_routes()),
    {result, _} = ask("", "<create node='n'/><configure><x xmlns='jabber:x:data' type='submit'>"
        ++ field("FORM_TYPE", ?PUBSUB "#node_config") ++ field("pubsub#item_expire", "1")
        ++ field("pubsub#max_items", "10") ++ field("pubsub#persist_items", "1") ++ "</x></configure>"),
    io:format("service: item_expire is ~s~n", [item_expire()]),
    Owner = {<<"alice">>, <<"localhost">>, <<>>},
    Alice = jid:make(Owner),
    {result, _} = mod_pubsub:create_node(Owner, <<"localhost">>, <<"n">>, Alice, <<"pep">>, all,
        [{item_expire, 1}, {max_items, 10}, {persist_items, true}]),
    [begin
        {result, _} = ask("", ["<publish node='n'><item id='", Id, "'><x xmlns='urn:example'/></item></publish>"]),
        {result, _} = mod_pubsub:publish_item(Owner, <<"localhost">>, <<"n">>, Alice, list_to_binary(Id),
            [fxml_stream:parse_element(<<"<x xmlns='urn:example'/>">>)])
    end || Id <- ["one", "two", "three"]],
    timer:sleep(3000),
    {Service, Pep} = {items(?SERVICE), items(Owner)},
    Expired = command(delete_expired_pubsub_items, []),
    io:format("service: ~b items, ~b after delete_expired_pubsub_items (~w)~n", [Service, items(?SERVICE), Expired]),
    After = items(Owner),
    Old = command(delete_old_pubsub_items, [0]),
    io:format("service: ~b items, ~b after delete_old_pubsub_items 0 (~w)~n", [Service, items(?SERVICE), Old]),
    io:format("PEP: ~b items, ~b after delete_expired_pubsub_items (~w)~n", [Pep, After, Expired]).

command(Name, Arguments) -> ejabberd_commands:execute_command2(Name, Arguments, #{caller_module => ejabberd_ctl}).

items(Host) -> length(mod_pubsub:get_items(Host, <<"n">>)).

field(Name, Value) -> ["<field var='", Name, "'><value>", Value, "</value></field>"].

item_expire() ->
    {result, Answer} = ask("#owner", "<configure node='n'/>"),
    {match, [Value]} = re:run(Answer, "item_expire'[^>]*><value>([^<]*)", [{capture, [1], binary}]),
    Value.

% Asks the service as a client does.
ask(Namespace, Payload) ->
    Type = case Namespace of "" -> "set"; _ -> "get" end,
    Iq = ["<iq xmlns='jabber:client' id='1' from='alice@client.localhost/1' to='", ?SERVICE, "' type='", Type,
        "'><pubsub xmlns='", ?PUBSUB, Namespace, "'>", Payload, "</pubsub></iq>"],
    ejabberd_router:route(xmpp:decode(fxml_stream:parse_element(iolist_to_binary(Iq)))),
    receive
        {route, Answer} -> {xmpp:get_type(Answer), fxml:element_to_binary(xmpp:encode(Answer))}
    after 30000 ->
        timeout
    end.
ERLANG

%%% ephemerd's companion module for ejabberd: it announces marked stanzas. docs/protocol.md has the protocol.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

%%% One process per virtual host numbers the notices and sends them in order. Whoever stores a message only hands
%%% the notice over, and never waits.

-module(mod_ephemerd).
-behaviour(gen_mod).
-behaviour(gen_server).

-export([start/2, stop/1, reload/3, depends/2, mod_options/1, mod_opt_type/1, mod_doc/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
-export([archived/7, archived/8, queued/1, before_drain/1, after_drain/1, keep_inside/3, component_sent/1]).
-export([process_iq/1, decode_iq_subel/1]).
-export([component/1, boot_and_number/2, hand_over/6, rooms/1, safely/2, gap_unless_told/2, tell/6]).

-include("logger.hrl").
-include("xmpp.hrl").

-define(NS, <<"urn:ephemerd:companion:0">>).
%% Limit on waiting notices: bytes of text, plus a fixed amount for each.
-define(MAX_WAITING_BYTES, 8388608).
-define(NOTICE_BYTES, 1024).

-record(state, {host :: binary(), domains :: [binary()]}).

%%% The module

start(Host, Opts) ->
    gen_mod:start_child(?MODULE, Host, Opts).

stop(Host) ->
    gen_mod:stop_child(?MODULE, Host).

reload(_Host, _NewOpts, _OldOpts) ->
    ok.

depends(_Host, _Opts) ->
    [{mod_mam, hard}, {mod_offline, soft}, {mod_muc, soft}].

mod_opt_type(component) ->
    econf:domain().

mod_options(_Host) ->
    [component].

mod_doc() ->
    #{desc => <<"Notifies the component ephemerd of archived stanzas whose senders want them erased, and erases them when it asks.">>,
      opts => [{component, #{value => <<"Domain">>, desc => <<"The component's domain: the only one that is notified and may send requests.">>}}]}.

component(Host) ->
    gen_mod:get_module_opt(Host, ?MODULE, component).

%% The rooms' hosts of a virtual host.
rooms(Host) ->
    case gen_mod:is_loaded(Host, mod_muc) of
        true -> gen_mod:get_module_opt_hosts(Host, mod_muc);
        false -> []
    end.

%% A failure here must not keep a message from being stored or delivered. The log gets no data.
safely(Work, Else) ->
    try Work()
    catch
        Class:Reason:Stack ->
            Where = case Stack of
                        [{M, F, _, Info} | _] -> {M, F, proplists:get_value(line, Info)};
                        _ -> unknown
                    end,
            What = case Reason of
                       _ when is_atom(Reason) -> Reason;
                       _ when is_tuple(Reason), is_atom(element(1, Reason)) -> element(1, Reason);
                       _ -> other
                   end,
            ?ERROR_MSG("~s:~s at ~p", [Class, What, Where]),
            Else
    end.

%%% Hooks

hooks() ->
    [{store_mam_message, archived, 101},      % mod_mam stores at 100
     {offline_message_hook, queued, 51},      % mod_offline stores at 50
     {c2s_self_presence, before_drain, 49},   % mod_offline hands out at 50
     {c2s_self_presence, after_drain, 51},
     {s2s_allow_host, keep_inside, 10}].

archived(Acc, User, Domain, Peer, Nick, Type, Dir, _StoredInMucMam) ->
    archived(Acc, User, Domain, Peer, Nick, Type, Dir).

archived(#message{} = Message, User, Domain, Peer, _Nick, Type, _Dir) ->
    gap_unless_told(
        Domain,
        fun() ->
            Usec = xmpp:get_meta(Message, stanza_id, none),
            tell_if_marked(mod_ephemerd_xml:marked(Message), {User, Domain}, Type, Peer, Usec)
        end),
    Message;
archived(Acc, _, _, _, _, _, _) ->
    Acc.

tell_if_marked(#xmlel{} = El, {_, Domain} = Owner, Type, Peer, Usec) when is_integer(Usec) ->
    Host = ejabberd_router:host_of_route(Domain),
    case Type of
        groupchat ->
            Sender = [{<<"sender">>, jid:encode(jid:tolower(jid:remove_resource(Peer)))}],
            tell(Host, Owner, <<"room">>, integer_to_binary(Usec), Usec, El, Sender);
        chat -> tell(Host, Owner, <<"archive">>, integer_to_binary(Usec), Usec, El)
    end;
tell_if_marked(_, _, _, _, _) -> ok.

queued({offlined, #message{to = #jid{luser = User, lserver = Host}} = Message} = Acc) ->
    gap_unless_told(
        Host,
        fun() ->
            case mod_ephemerd_xml:marked(Message) of
                none -> ok;
                El -> tell_if_queued({User, Host}, El)
            end
        end),
    Acc;
queued(Acc) ->
    Acc.

tell_if_queued({_, Host} = Owner, El) ->
    case mod_ephemerd_queue:is_known(Host) andalso mod_ephemerd_queue:find(Owner, El) of
        {ok, {Id, Usec, Stored}} -> tell(Host, Owner, <<"queue">>, Id, Usec, Stored);
        error -> failed;
        _ -> ok
    end.

%% A notice that could not be sent still takes its number, so that its loss is noticed.
gap_unless_told(Domain, Tell) ->
    case safely(Tell, failed) of
        failed ->
            Skip = fun() -> next_number(gen_mod:get_module_proc(ejabberd_router:host_of_route(Domain), ?MODULE), Domain) end,
            safely(Skip, ok);
        _ -> ok
    end.

before_drain({#presence{type = available} = New, #{jid := #jid{luser = User, lserver = Host}} = State} = Acc) ->
    gap_unless_told(
        Host,
        fun() ->
            Holds = hands_out(New, State) andalso mod_ephemerd_queue:is_known(Host)
                andalso mod_ephemerd_queue:has_marked({User, Host}),
            put(?MODULE, Holds == true),
            case Holds of
                error -> failed;
                _ -> ok
            end
        end),
    Acc;
before_drain(Acc) ->
    Acc.

%% mod_offline hands out the queue when somebody becomes available, not at every presence.
hands_out(_, #{resend_offline := false}) -> false;
hands_out(New, State) ->
    priority(New) >= 0 andalso priority(maps:get(pres_last, State, none)) < 0.

priority(#presence{priority = undefined}) -> 0;
priority(#presence{priority = Priority}) -> Priority;
priority(_) -> -1.

after_drain({_, #{jid := #jid{luser = User, lserver = Host}}} = Acc) ->
    gap_unless_told(
        Host,
        fun() ->
            case erase(?MODULE) of
                true ->
                    case mod_ephemerd_queue:has_marked({User, Host}) of
                        false -> hand_over(Host, Host, {User, Host}, <<"drained">>, [], []);
                        true -> ok;
                        error -> failed
                    end;
                _ -> ok
            end
        end),
    Acc;
after_drain(Acc) ->
    Acc.

%% While the component is away, its domain must not be looked up elsewhere.
keep_inside(Acc, Host, Remote) ->
    case safely(fun() -> component(Host) end, none) of
        Remote -> {stop, deny};
        _ -> Acc
    end.

%% Only what arrived on the component's own connection carries this. `from` alone proves nothing: a component may
%% use any name of its listener.
component_sent({#iq{} = IQ, #{remote_server := Connected} = State}) ->
    #jid{lserver = From} = xmpp:get_from(IQ),
    {xmpp:put_meta(IQ, ?MODULE, From == Connected), State};
component_sent(Acc) ->
    Acc.

%%% Notices

tell(Host, Owner, Store, Id, Usec, El) ->
    tell(Host, Owner, Store, Id, Usec, El, []).

tell(Host, {_, Domain} = Owner, Store, Id, Usec, El, More) ->
    {Shown, IsReduced} = mod_ephemerd_xml:reduce(El),
    Stamp = mod_ephemerd_xml:stamp(Usec),
    Delay = #xmlel{name = <<"delay">>, attrs = [{<<"xmlns">>, ?NS_DELAY}, {<<"stamp">>, Stamp}]},
    Forwarded = #xmlel{name = <<"forwarded">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:forward:0">>}], children = [Delay, Shown]},
    {Name, Where} = case Store of
                        remembered -> {<<"remembered">>, []};
                        _ -> {<<"archived">>, [{<<"store">>, Store}]}
                    end,
    Attrs = Where ++ More ++ [{<<"id">>, Id}, {<<"stamp">>, Stamp} | mod_ephemerd_page:row_attrs(Store, Owner, El, IsReduced)],
    hand_over(Host, Domain, Owner, Name, Attrs, [Forwarded]).

%% A notice that does not fit still takes its number, so that its loss is noticed.
hand_over(Host, Domain, {User, _}, Name, Attrs, Children) ->
    Table = gen_mod:get_module_proc(Host, ?MODULE),
    Notice = #xmlel{name = Name, attrs = [{<<"owner">>, jid:encode({User, Domain, <<>>})} | Attrs], children = Children},
    Size = ?NOTICE_BYTES + byte_size(mod_ephemerd_xml:text(Notice)),
    case ets:update_counter(Table, waiting, Size) of
        Waiting when Waiting =< ?MAX_WAITING_BYTES ->
            gen_server:cast(Table, {send, Domain, Notice, Size});
        _ ->
            ets:update_counter(Table, waiting, -Size),
            next_number(Table, Domain)
    end,
    ok.

next_number(Table, Domain) ->
    ets:update_counter(Table, {number, Domain}, 1, {{number, Domain}, 0}).

%% The text never leaves this server: either the component is connected here, or the notice is lost.
send(#state{host = Host}, Domain, #xmlel{attrs = Attrs} = Notice) ->
    Table = gen_mod:get_module_proc(Host, ?MODULE),
    Number = next_number(Table, Domain),
    Component = component(Host),
    case ejabberd_router:is_my_route(Component) of
        true ->
            Numbered = [{<<"xmlns">>, ?NS}, {<<"boot">>, ets:lookup_element(Table, boot, 2)},
                        {<<"number">>, integer_to_binary(Number)} | Attrs],
            ejabberd_router:route(#message{type = headline, from = jid:make(Domain), to = jid:make(Component),
                                           sub_els = [Notice#xmlel{attrs = Numbered}]});
        false -> ok
    end.

%% When this answers, everything handed over earlier has been sent.
boot_and_number(Host, Domain) ->
    gen_server:call(gen_mod:get_module_proc(Host, ?MODULE), {number, Domain}).

%%% The process

init([Host, _Opts]) ->
    process_flag(trap_exit, true),
    Table = gen_mod:get_module_proc(Host, ?MODULE),
    Table = ets:new(Table, [named_table, public, {write_concurrency, true}]),
    Boot = binary:encode_hex(crypto:strong_rand_bytes(8)),
    ets:insert(Table, [{boot, Boot}, {waiting, 0}]),
    {ok, _} = mod_ephemerd_requests:start_link(Host),
    {ok, _} = mod_ephemerd_sessions:start_link(Host),
    {ok, _} = mod_ephemerd_reads:start_link(Host),
    Domains = [Host | rooms(Host)],
    [gen_iq_handler:add_iq_handler(ejabberd_local, Domain, ?NS, ?MODULE, process_iq) || Domain <- Domains],
    [ejabberd_hooks:add(Hook, Host, ?MODULE, Function, At) || {Hook, Function, At} <- hooks()],
    [ejabberd_hooks:add(Hook, Host, Module, Function, At)
     || Module <- [mod_ephemerd_sessions, mod_ephemerd_reads], {Hook, Function, At} <- Module:hooks()],
    ejabberd_hooks:add(muc_filter_message, Host, mod_ephemerd_memory, remember, 60),   % mod_mam archives at 50
    ejabberd_hooks:add(component_send_packet, ?MODULE, component_sent, 10),
    {ok, #state{host = Host, domains = Domains}}.

handle_call({number, Domain}, _From, #state{host = Host} = State) ->
    Table = gen_mod:get_module_proc(Host, ?MODULE),
    Number = case ets:lookup(Table, {number, Domain}) of
                 [{_, Last}] -> Last;
                 [] -> 0
             end,
    {reply, {ets:lookup_element(Table, boot, 2), Number}, State};
handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast({send, Domain, Notice, Size}, #state{host = Host} = State) ->
    safely(fun() -> send(State, Domain, Notice) end, ok),
    ets:update_counter(gen_mod:get_module_proc(Host, ?MODULE), waiting, -Size),
    {noreply, State};
handle_cast(_, State) ->
    {noreply, State}.

handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(_, State) ->
    {noreply, State}.

terminate(_Reason, #state{host = Host, domains = Domains}) ->
    [ejabberd_hooks:delete(Hook, Host, ?MODULE, Function, At) || {Hook, Function, At} <- hooks()],
    [ejabberd_hooks:delete(Hook, Host, Module, Function, At)
     || Module <- [mod_ephemerd_sessions, mod_ephemerd_reads], {Hook, Function, At} <- Module:hooks()],
    ejabberd_hooks:delete(muc_filter_message, Host, mod_ephemerd_memory, remember, 60),
    [gen_iq_handler:remove_iq_handler(ejabberd_local, Domain, ?NS) || Domain <- Domains],
    case gen_mod:is_loaded_elsewhere(Host, ?MODULE) of
        true -> ok;
        false -> ejabberd_hooks:delete(component_send_packet, ?MODULE, component_sent, 10)
    end.

code_change(_OldVersion, State, _Extra) ->
    {ok, State}.

%%% Requests

%% Without this, ejabberd refuses an element that its XMPP library has no codec for.
decode_iq_subel(El) -> El.

%% Runs in the component's own connection: only checks who is asking, and hands the request over.
process_iq(#iq{from = From, to = #jid{lserver = Domain}} = IQ) ->
    Host = ejabberd_router:host_of_route(Domain),
    Component = component(Host),
    case From of
        #jid{luser = <<>>, lserver = Component, lresource = <<>>} ->
            case xmpp:get_meta(IQ, ?MODULE, false) of
                true -> mod_ephemerd_requests:ask(Host, IQ);
                false -> mod_ephemerd_requests:refuse(IQ, xmpp:err_forbidden())
            end;
        _ -> mod_ephemerd_requests:refuse(IQ, xmpp:err_forbidden())
    end.

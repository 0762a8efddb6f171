%%% ephemerd's companion module for ejabberd: it answers the component's requests (docs/protocol.md).
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

%%% One process per virtual host answers one request at a time: lists are paced, and the component's connection is
%%% never blocked.

-module(mod_ephemerd_requests).
-behaviour(gen_server).

-export([start_link/1, ask/2, refuse/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include("logger.hrl").
-include("xmpp.hrl").

-define(NS, <<"urn:ephemerd:companion:0">>).
-define(VERSION, <<"2">>).
-define(OLDEST_VERSION, <<"1">>).
-define(MODULE_VERSION, <<"0.1.0">>).
-define(MAX_WAITING, 50).
-define(MAX_ITEMS, 500).
-define(MAX_ID, 256).
-define(MIN_BYTES, 1024).
-define(MAX_BYTES, 262144).
-define(MAX_MEMBERS_BYTES, 131072).
-define(BETWEEN_LISTS_MS, 50).
%% How long one reading of the owners serves further pages.
-define(OWNERS_KEPT_MS, 60000).

-record(state, {host :: binary(), listed = none :: none | integer(), owners = none}).

start_link(Host) ->
    gen_server:start_link({local, gen_mod:get_module_proc(Host, ?MODULE)}, ?MODULE, [Host], []).

%% Hands over a request from the component; the answer is sent later.
-spec ask(binary(), iq()) -> iq() | ignore.
ask(Host, IQ) ->
    Process = whereis(gen_mod:get_module_proc(Host, ?MODULE)),
    case is_pid(Process) andalso process_info(Process, message_queue_len) of
        {_, Waiting} when Waiting < ?MAX_WAITING ->
            gen_server:cast(Process, {ask, IQ}),
            ignore;
        _ -> refuse(IQ, xmpp:err_resource_constraint())
    end.

%% An error that quotes nothing from the request.
-spec refuse(iq(), stanza_error()) -> iq().
refuse(IQ, Error) ->
    xmpp:make_error(IQ#iq{sub_els = []}, Error).

%%% The process

init([Host]) ->
    {ok, #state{host = Host}}.

handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast({ask, IQ}, State) ->
    Failed = {error, failed(), State},
    Run = fun() ->
                  try answer(IQ, State)
                  catch throw:{refuse, Error} -> {error, Error, State}
                  end
          end,
    {Reply, Next} =
        case mod_ephemerd:safely(Run, Failed) of
            {ok, El, New} -> {xmpp:make_iq_result(IQ, El), New};
            {error, Error, New} -> {refuse(IQ, Error), New}
        end,
    ejabberd_router:route(Reply),
    {noreply, Next, hibernate};
handle_cast(_, State) ->
    {noreply, State}.

handle_info(_, State) ->
    {noreply, State}.

terminate(_Reason, _State) ->
    ok.

code_change(_OldVersion, State, _Extra) ->
    {ok, State}.

%%% What is asked

answer(#iq{type = Type, to = #jid{lserver = Domain}, sub_els = [#xmlel{name = Name} = El]}, State) ->
    case {Type, Name} of
        {get, <<"companion">>} -> {ok, companion(Domain, El, State), State};
        _ ->
            same_version(El),
            case {Type, Name} of
                {get, <<"owners">>} -> paced(fun() -> owners(Domain, El, State) end, State);
                {get, <<"members">>} -> {ok, members(Domain, El, State), State};
                {get, <<"remembered">>} -> {ok, remembered(Domain, State), State};
                {get, <<"list">>} -> paced(fun() -> {list(Domain, El, State), State} end, State);
                {get, <<"recall">>} -> {ok, recall(Domain, El, State), State};
                {get, <<"files">>} -> {ok, files(Domain, El, State), State};
                {set, <<"unlink">>} -> {ok, unlink(Domain, El, State), State};
                {set, <<"erase">>} -> {ok, change(Domain, El, erase, <<"erased">>, State), State};
                {set, <<"blank">>} -> {ok, change(Domain, El, {blank, until(El)}, <<"blanked">>, State), State};
                {set, <<"scrub">>} -> {ok, scrub(Domain, El, State), State};
                _ -> not_implemented(<<>>)
            end
    end.

same_version(El) ->
    case attr(<<"version">>, El) of
        Spoken when Spoken == ?VERSION; Spoken == ?OLDEST_VERSION -> ok;
        <<>> -> bad_request();
        Theirs when byte_size(Theirs) =< 9 ->
            not_implemented(<<"The module speaks version ", ?VERSION/binary, ", it was asked in version ", Theirs/binary>>);
        _ -> bad_request()
    end.

companion(Domain, El, #state{host = Host}) ->
    %% An older daemon would count our newer notices as lost.
    Version = hd([?OLDEST_VERSION || attr(<<"version">>, El) == ?OLDEST_VERSION] ++ [?VERSION]),
    [Reads, InRooms] = [iolist_to_binary([attr(Name, El) || Version == ?VERSION]) || Name <- [<<"reads">>, <<"room-reads">>]],
    mod_ephemerd_reads:want(Host, Domain, Reads, InRooms),
    Sessions = [mod_ephemerd_sessions:understood(Host, Version == ?VERSION) || Domain == Host],
    {Boot, Number} = mod_ephemerd:boot_and_number(Host, Domain),
    Server = <<"ejabberd ", (iolist_to_binary(ejabberd_option:version()))/binary>>,
    Attrs = [{<<"version">>, Version}, {<<"module">>, ?MODULE_VERSION}, {<<"server">>, Server}, {<<"boot">>, Boot},
             {<<"number">>, integer_to_binary(Number)},
             {<<"now">>, mod_ephemerd_xml:stamp(erlang:system_time(microsecond))} | lists:append(Sessions)],
    Can = [#xmlel{name = <<"can">>, attrs = [{<<"what">>, What}]} || What <- abilities(Host, Domain)],
    element(<<"companion">>, Attrs, Can).

recall(Domain, El, #state{host = Host}) ->
    {After, Max} = {attr(<<"after">>, El), number(<<"max">>, El, 1, ?MAX_ITEMS)},
    Knowing = [mod_ephemerd_sessions || Domain == Host],
    Users = lists:usort([{jid:encode({User, Domain, <<>>}), User}
                         || User <- lists:append([Module:owners(Host) || Module <- Knowing]) ++ mod_ephemerd_reads:owners(Host, Domain)]),
    Rest = [Owner || {Jid, _} = Owner <- Users, Jid > After],
    Page = lists:sublist(Rest, Max),
    [begin
         [Module:tell_again(Host, User) || Module <- Knowing],
         mod_ephemerd_reads:tell_again(Host, Domain, User)
     end || {_, User} <- Page],
    mod_ephemerd:boot_and_number(Host, Domain),
    Last = [{<<"last">>, element(1, lists:last(Page))} || Page /= []],
    element(<<"recall">>, Last ++ [{<<"complete">>, <<"true">>} || length(Rest) =< Max], []).

abilities(Host, Domain) ->
    Archive = case mod_ephemerd_archive:is_known(Host) of
                  true -> [<<"erase">>, <<"blank">>, <<"list">>];
                  false -> []
              end,
    case Domain of
        Host -> [What || What <- [<<"sessions">>, <<"reads">>, <<"room-reads">>], Archive /= []] ++ Archive ++ [<<"queue">> || mod_ephemerd_queue:is_known(Host)]
            ++ [<<"files">> || mod_ephemerd_uploads:is_known(Host)];
        _ -> Archive ++ [<<"scrub">>, <<"remember">>, <<"room-reads">>, <<"members">>]
    end.

change(Domain, El, Change, Name, #state{host = Host} = State) ->
    Store = store(Domain, El, State),
    {Owner, Jid} = owner(Domain, El),
    Items = items(El, fun stamped/1),
    Outcomes = scrub_too(Store, Owner, Items, change_in(Host, Store, Owner, Change, Items)),
    Answers = [#xmlel{name = <<"item">>, attrs = [{<<"id">>, Id}, {<<"outcome">>, atom_to_binary(Outcome)}]}
               || {{Id, _}, Outcome} <- lists:zip(Items, Outcomes)],
    element(Name, [{<<"owner">>, Jid}, {<<"store">>, Store}], Answers).

change_in(_, <<"queue">>, _, erase, _) -> not_implemented(<<>>);
change_in(Host, <<"queue">>, Owner, {blank, Until}, Items) -> mod_ephemerd_queue:blank(Host, Owner, Until, Items);
change_in(Host, _, Owner, Change, Items) -> mod_ephemerd_archive:change(Host, Owner, Change, Items).

%% What was erased from the archive must not be replayed from the history; if that fails, the request must be
%% repeated.
scrub_too(<<"room">>, Room, Items, Outcomes) ->
    Went = [Id || {{Id, _}, Outcome} <- lists:zip(Items, Outcomes), Outcome == done orelse Outcome == gone],
    case Went /= [] andalso mod_ephemerd_room:scrub(Room, Went) of
        busy -> [case Outcome of other -> other; _ -> failed end || Outcome <- Outcomes];
        _ -> Outcomes
    end;
scrub_too(_, _, _, Outcomes) -> Outcomes.

scrub(Domain, El, #state{host = Host}) ->
    Domain /= Host orelse item_not_found(),
    {Room, Jid} = owner(Domain, El),
    Ids = items(El, fun(Item) -> id(Item) end),
    case mod_ephemerd_memory:scrub(Host, Room, Ids) of
        {ok, Count} -> element(<<"scrubbed">>, [{<<"owner">>, Jid}, {<<"count">>, integer_to_binary(Count)}], []);
        _ -> throw({refuse, failed()})
    end.

remembered(Domain, #state{host = Host}) ->
    Domain /= Host orelse not_implemented(<<>>),
    Count = mod_ephemerd_memory:tell_again(Host, Domain),
    element(<<"remembered">>, [{<<"count">>, integer_to_binary(Count)}], []).

%% If not all of them can be listed, none is: there are too many, or whole domains.
members(Domain, El, #state{host = Host}) ->
    Domain /= Host orelse not_implemented(<<>>),
    {{Name, _} = Room, Jid} = owner(Domain, El),
    case mod_ephemerd_room:members(Host, Room) of
        {members, Members} ->
            All = [member({Name, Domain}, Member) || Member <- lists:sort(Members)],
            Bytes = lists:sum([byte_size(Value) || Attrs <- All, {_, Value} <- Attrs]),
            Domains = [Who || {{<<>>, _, _} = Who, _} <- Members],
            IsAll = length(All) =< ?MAX_ITEMS andalso Bytes =< ?MAX_MEMBERS_BYTES andalso Domains == [],
            element(<<"members">>, [{<<"owner">>, Jid}, {<<"members-only">>, <<"true">>} | [{<<"complete">>, <<"true">>} || IsAll]],
                    [#xmlel{name = <<"member">>, attrs = Attrs} || IsAll, Attrs <- All]);
        open -> element(<<"members">>, [{<<"owner">>, Jid}], []);
        none -> item_not_found();
        _ -> throw({refuse, failed()})
    end.

member({Room, Domain}, {Who, Nicks}) ->
    [{<<"jid">>, jid:encode(Who)} | [{<<"occupant">>, jid:encode({Room, Domain, Nick})} || Nick <- Nicks]].

%%% Uploaded files

files(Domain, El, #state{host = Host}) ->
    State = fun(Id, Uploader) ->
                    case mod_ephemerd_uploads:state(Host, Id, Uploader) of
                        {there, Usec} -> [{<<"state">>, <<"there">>}, {<<"since">>, mod_ephemerd_xml:stamp(Usec)}];
                        Other -> [{<<"state">>, atom_to_binary(Other)}]
                    end
            end,
    each_file(<<"files">>, Domain, El, Host, State, []).

unlink(Domain, El, #state{host = Host}) ->
    Unlink = fun(Id, Uploader) -> [{<<"outcome">>, atom_to_binary(mod_ephemerd_uploads:unlink(Host, Id, Uploader))}] end,
    each_file(<<"unlinked">>, Domain, El, Host, Unlink, [{<<"outcome">>, <<"failed">>}]).

each_file(Name, Domain, #xmlel{children = Children}, Host, Do, Failed) ->
    (Domain == Host andalso mod_ephemerd_uploads:is_known(Host)) orelse not_implemented(<<>>),
    Files = [{id(File), uploader(File)} || #xmlel{name = <<"file">>} = File <- Children],
    (length(Files) >= 1 andalso length(Files) =< ?MAX_ITEMS) orelse bad_request(),
    length(lists:usort(Files)) == length(Files) orelse bad_request(),
    Answers = [[{<<"id">>, Id}, {<<"uploader">>, jid:encode(Uploader)} | mod_ephemerd:safely(fun() -> Do(Id, Uploader) end, Failed)]
               || {Id, Uploader} <- Files],
    element(Name, [], [#xmlel{name = <<"file">>, attrs = Attrs} || Attrs <- Answers]).

uploader(File) ->
    try jid:decode(attr(<<"uploader">>, File)) of
        #jid{luser = User, resource = <<>>} = Jid when User /= <<>> -> Jid;
        _ -> bad_request()
    catch
        error:{bad_jid, _} -> bad_request()
    end.

%%% Lists

%% One at a time, with a pause in between.
paced(List, #state{listed = Listed} = State) ->
    case Listed /= none andalso now_ms() - Listed < ?BETWEEN_LISTS_MS of
        true -> {error, xmpp:err_resource_constraint(), State};
        false ->
            try List() of
                {El, Next} -> {ok, El, Next#state{listed = now_ms()}}
            catch
                throw:{refuse, Error} -> {error, Error, State#state{listed = now_ms()}}
            end
    end.

owners(Domain, El, #state{host = Host} = State) ->
    Store = store(Domain, El, State),
    Max = number(<<"max">>, El, 1, ?MAX_ITEMS),
    After = attr(<<"after">>, El),
    {All, Next} = all_owners(Host, Domain, Store, After, State),
    Rest = lists:dropwhile(fun(Jid) -> Jid =< After end, All),
    Page = lists:sublist(Rest, Max),
    Complete = [{<<"complete">>, <<"true">>} || length(Rest) =< Max],
    Owners = [#xmlel{name = <<"owner">>, attrs = [{<<"jid">>, Jid}]} || Jid <- Page],
    {element(<<"owners">>, [{<<"store">>, Store} | Complete], Owners), Next}.

all_owners(Host, Domain, Store, After, #state{owners = Kept} = State) ->
    case Kept of
        {Store, Domain, At, All} when After /= <<>> ->
            case now_ms() - At < ?OWNERS_KEPT_MS of
                true -> {All, State};
                false -> read_owners(Host, Domain, Store, State)
            end;
        _ -> read_owners(Host, Domain, Store, State)
    end.

read_owners(Host, Domain, Store, State) ->
    Read = case Store of
               <<"queue">> -> mod_ephemerd_queue:owners(Host);
               _ -> mod_ephemerd_archive:owners(Host, Domain)
           end,
    case Read of
        {ok, Jids} ->
            All = lists:usort(Jids),
            {All, State#state{owners = {Store, Domain, now_ms(), All}}};
        error -> throw({refuse, failed()})
    end.

list(Domain, El, #state{host = Host} = State) ->
    Store = store(Domain, El, State),
    {Owner, Jid} = owner(Domain, El),
    Since = since(El),
    Max = number(<<"max">>, El, 1, ?MAX_ITEMS),
    MaxBytes = number(<<"max-bytes">>, El, ?MIN_BYTES, ?MAX_BYTES),
    After = attr(<<"after">>, El),
    byte_size(After) =< ?MAX_ID orelse bad_request(),
    case mod_ephemerd_page:read(Host, Store, Owner, {Since, After}, {Max, MaxBytes}) of
        error -> throw({refuse, failed()});
        {Rows, Last, IsAll} ->
            Attrs = [{<<"owner">>, Jid}, {<<"store">>, Store}]
                ++ [{<<"last">>, Last} || Last /= none]
                ++ [{<<"complete">>, <<"true">>} || IsAll],
            element(<<"list">>, Attrs, Rows)
    end.

%%% Attributes, and what is wrong with them

%% Which stores a host has depends on what kind of host it is.
store(Domain, El, #state{host = Host}) ->
    Store = attr(<<"store">>, El),
    IsKnown = mod_ephemerd_archive:is_known(Host),
    case Store of
        <<"archive">> when Domain == Host -> IsKnown orelse not_implemented(<<>>);
        <<"room">> when Domain /= Host -> IsKnown orelse not_implemented(<<>>);
        <<"queue">> when Domain == Host ->
            mod_ephemerd_queue:is_there(Host) orelse item_not_found(),
            mod_ephemerd_queue:is_known(Host) orelse not_implemented(<<>>);
        <<"archive">> -> item_not_found();
        <<"room">> -> item_not_found();
        <<"queue">> -> item_not_found();
        _ -> bad_request()
    end,
    Store.

owner(Domain, El) ->
    Jid = attr(<<"owner">>, El),
    try jid:decode(Jid) of
        #jid{luser = User, lserver = Domain, resource = <<>>} when User /= <<>> -> {{User, Domain}, Jid};
        #jid{luser = User, resource = <<>>} when User /= <<>> -> item_not_found();
        _ -> bad_request()
    catch
        error:{bad_jid, _} -> bad_request()
    end.

items(#xmlel{children = Children}, Read) ->
    Items = [Read(Item) || #xmlel{name = <<"item">>} = Item <- Children],
    Ids = [attr(<<"id">>, Item) || #xmlel{name = <<"item">>} = Item <- Children],
    case length(Items) of
        Count when Count >= 1, Count =< ?MAX_ITEMS -> ok;
        _ -> bad_request()
    end,
    length(lists:usort(Ids)) == length(Ids) orelse bad_request(),
    Items.

id(Item) ->
    Id = attr(<<"id">>, Item),
    (Id /= <<>> andalso byte_size(Id) =< ?MAX_ID) orelse bad_request(),
    Id.

stamped(Item) ->
    case mod_ephemerd_xml:usec(attr(<<"stamp">>, Item)) of
        {ok, Usec} -> {id(Item), Usec};
        error -> bad_request()
    end.

until(El) ->
    Until = attr(<<"until">>, El),
    case mod_ephemerd_xml:usec(Until) of
        {ok, _} -> Until;
        error -> bad_request()
    end.

since(El) ->
    case attr(<<"since">>, El) of
        <<>> -> 0;
        Stamp ->
            case mod_ephemerd_xml:usec(Stamp) of
                {ok, Usec} -> Usec;
                error -> bad_request()
            end
    end.

number(Name, El, Min, Max) ->
    try binary_to_integer(attr(Name, El)) of
        Number when Number >= Min, Number =< Max -> Number;
        _ -> bad_request()
    catch
        error:badarg -> bad_request()
    end.

attr(Name, El) ->
    fxml:get_tag_attr_s(Name, El).

element(Name, Attrs, Children) ->
    #xmlel{name = Name, attrs = [{<<"xmlns">>, ?NS} | Attrs], children = Children}.

now_ms() ->
    erlang:monotonic_time(millisecond).

-spec bad_request() -> no_return().
bad_request() -> throw({refuse, xmpp:err_bad_request()}).

-spec item_not_found() -> no_return().
item_not_found() -> throw({refuse, xmpp:err_item_not_found()}).

-spec not_implemented(binary()) -> no_return().
not_implemented(<<>>) -> throw({refuse, xmpp:err_feature_not_implemented()});
not_implemented(Text) -> throw({refuse, xmpp:err_feature_not_implemented(Text, <<"en">>)}).

failed() ->
    (xmpp:err_internal_server_error())#stanza_error{type = wait}.

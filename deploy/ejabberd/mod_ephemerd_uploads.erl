%%% ephemerd's companion module for ejabberd: it removes uploaded files (mod_http_upload), for messages that name them.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

%%% A file is in DOCROOT/USER/SECRET/NAME, where USER is made of the address of whoever uploaded it, and the server made
%%% SECRET for that one file. USER/SECRET is what we call it.

-module(mod_ephemerd_uploads).

-export([is_known/1, state/3, unlink/3]).

-include_lib("kernel/include/file.hrl").
-include("xmpp.hrl").

-define(MIN_SECRET, 8).
-define(MAX_SECRET, 128).
%% There is one file, and perhaps what is left of an attempt.
-define(MAX_FILES, 10).
%% Nothing names a file so long before it is uploaded: a URL is known before.
-define(AHEAD_S, 600).

is_known(Host) ->
    gen_mod:is_loaded(Host, mod_http_upload).

%% What is known of a file, and since when something may name it, in microseconds.
-spec state(binary(), binary(), jid:jid()) -> {there, integer()} | gone | other.
state(Host, Id, Uploader) ->
    case find(Host, Id, Uploader) of
        {Folder, Files} ->
            Times = [Time || Path <- [Folder | Files], {ok, #file_info{mtime = Time}} <- [info(Path)]],
            case Times of
                [] -> gone;
                _ -> {there, (lists:min(Times) - ?AHEAD_S) * 1000000}
            end;
        Other -> Other
    end.

-spec unlink(binary(), binary(), jid:jid()) -> done | gone | other | failed.
unlink(Host, Id, Uploader) ->
    case find(Host, Id, Uploader) of
        {Folder, Files} ->
            case lists:usort([file:delete(File) || File <- Files]) -- [ok, {error, enoent}] of
                [] ->
                    _ = file:del_dir(Folder),
                    done;
                _ -> failed
            end;
        Other -> Other
    end.

%% The folder and its files. No link is followed below the folder of all uploads, and no name from outside is used but
%% the one that the server made.
find(Host, Id, Uploader) ->
    case binary:split(Id, <<"/">>, [global]) of
        [User, Secret] ->
            case is_secret(Secret) andalso user(Host, Uploader) of
                false -> gone;
                User -> files(filename:join(docroot(Host), User), Secret);
                _ -> other
            end;
        _ -> gone
    end.

files(UserFolder, Secret) ->
    Folder = filename:join(UserFolder, Secret),
    case [Path || Path <- [UserFolder, Folder], not is(directory, Path)] of
        [] ->
            {ok, Names} = file:list_dir_all(Folder),
            Files = [filename:join(Folder, Name) || Name <- Names],
            case Files /= [] andalso length(Files) =< ?MAX_FILES andalso lists:all(fun(File) -> is(regular, File) end, Files) of
                true -> {Folder, Files};
                false -> gone
            end;
        _ -> gone
    end.

is(Type, Path) ->
    case info(Path) of
        {ok, #file_info{type = Type}} -> true;
        _ -> false
    end.

info(Path) ->
    file:read_link_info(Path, [{time, posix}]).

is_secret(Secret) ->
    byte_size(Secret) >= ?MIN_SECRET andalso byte_size(Secret) =< ?MAX_SECRET
        andalso re:run(Secret, "^[A-Za-z0-9_-]+\\z", [{capture, none}]) == match.

%% As mod_http_upload makes it. Names in which it replaces letters may be those of two users.
user(Host, #jid{luser = User, lserver = Domain}) ->
    case mod_http_upload_opt:jid_in_url(Host) of
        sha1 -> str:sha(<<User/binary, $@, Domain/binary>>);
        node ->
            case re:run(User, "^[a-z0-9][a-z0-9.-]*\\z", [{capture, none}]) of
                match -> User;
                nomatch -> none
            end
    end.

docroot(Host) ->
    Root = mod_http_upload:expand_home(str:strip(mod_http_upload_opt:docroot(Host), right, $/)),
    mod_http_upload:expand_host(Root, Host).

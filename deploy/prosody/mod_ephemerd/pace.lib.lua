-- How long to leave the server alone after a step that blocked it, so that others get nearly all of its time,
-- whatever users send.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local async = require "util.async";
local now = require "util.time".now;

local least_pause_seconds = 0.05;
-- How long the server may be held up by one of our steps.
local longest_step_seconds = 0.05;
-- A list that takes more processor time than this without a break is followed by a rest, as a change is. On a busy machine each list
-- seems long, and is not.
local longest_stretch_seconds = 0.1;

-- Shared by all hosts, because all hosts share one thread.
local shared = module:shared("/*/ephemerd/pace");

-- A rest is this many times as long as the step before it, up to this maximum.
local times, longest_rest_seconds = 20, 60;

-- A clock that was set back must not stop erasing.
local function seconds_until(time)
	local left = (time or 0) - now();
	return left > 0 and left <= longest_rest_seconds and left or 0;
end

-- Seconds until the next step may begin.
local function rest() return seconds_until(shared.steps_at); end

-- Runs one step and returns its result. A failed step is followed by a rest too.
local function step(work, ...)
	local started = now();
	local ok, result, also = pcall(work, ...);
	local ended = now();
	shared.steps_at = ended + math.min(longest_rest_seconds, (ended - started) * times);
	if not ok then error(result, 0); end
	return result, also;
end

-- Lets the server do other things for a moment; only inside a runner.
local function pause(seconds)
	local wait, done = async.waiter();
	module:add_timer(seconds, done);
	wait();
end

-- The list that this host has under way: since when it has held up the server, and the processor time then. This file is loaded by
-- several others, each with variables of its own.
local stretch = module:shared("stretch");

local function begin_stretch()
	stretch.began, stretch.used = now(), os.clock();
end

-- The server is free again. How long it was not decides when the next list may begin: after as long at least.
local function end_stretch()
	local ended, used = now(), os.clock() - stretch.used;
	local seconds = math.max(least_pause_seconds, ended - stretch.began, used > longest_stretch_seconds and used * times or 0);
	shared.lists_at = math.max(shared.lists_at or 0, ended + math.min(longest_rest_seconds, seconds));
end

-- Within a list: lets the server do other things where it has been held up for a step.
local function breathe()
	if now() - stretch.began <= longest_step_seconds then return; end
	end_stretch();
	pause(longest_step_seconds / 2);
	begin_stretch();
end

-- Begins a list once the rest after the last one is over; false where that is later than in so many seconds.
local function begin_list(patience_seconds)
	local left = seconds_until(shared.lists_at);
	if left > patience_seconds then return false; end
	if left > 0 then pause(left); end
	begin_stretch();
	return true;
end

-- It was made, or it failed, or it never began.
local function end_list()
	if stretch.began then end_stretch(); end
	stretch.began = nil;
end

return {
	longest_step_seconds = longest_step_seconds;
	rest = rest;
	step = step;
	pause = pause;
	breathe = breathe;
	begin_list = begin_list;
	end_list = end_list;
};

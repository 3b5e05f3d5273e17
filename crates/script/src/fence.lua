-- The part of the fence that is Lua: run once, before any script, with the interpreter's own functions in reach.
-- `our` holds what Rust gives; what scripts see is put into `globals`.
local our, globals = ...

local error, pcall, xpcall, type, rawget, rawset = error, pcall, xpcall, type, rawget, rawset
local setmetatable, getmetatable, select, next, tonumber = setmetatable, getmetatable, select, next, tonumber
local unpack, floor, concat, insert, remove = unpack, math.floor, table.concat, table.insert, table.remove
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield

-- Proxies that scripts get instead of the tables themselves: proxy → table.
local frozen = setmetatable({}, { __mode = "k" })

local READONLY = "Attempt to modify a readonly table"

local function refuse()
  error(READONLY, 2)
end

-- An empty table that reads through to `real` and takes nothing. Gives its metatable as well.
local function freeze(real, protected)
  local proxy = {}
  local meta = { __index = real, __newindex = refuse, __metatable = protected or false }
  frozen[proxy] = real
  return setmetatable(proxy, meta), meta
end

-- What scripts call, behind a gate: see there.
local passing, fails = our.passing, our.refuse

-- For a function behind a gate: its argument `at`, which is the first of those given here, is none that it takes.
local function argument(at, name, wanted, ...)
  local given = select("#", ...) == 0 and "no value" or type((...))
  fails(wanted .. " expected, got " .. given, name, at)
end

-- The interpreter's `pcall`, `xpcall` and `resume` put a boolean before what the call returns, and don't ask whether the
-- stack has room for it: a call that returns many values fills the stack to its last slot. So what passes through one of
-- them is at most `FEW` values, or one table of them all.
local FEW, MANY = 8, {}

local function few(...)
  local count = select("#", ...)
  if count > FEW then
    return MANY, { count = count, ... }
  end
  return ...
end

local function all(...)
  if (...) == MANY then
    local _, values = ...
    return unpack(values, 1, values.count)
  end
  return ...
end

-- Calls what has no name here, for the interpreter names a local in errors: "bad argument #1 to '?'", as of what `pcall` itself calls.
local function call(...)
  return few((...)(select(2, ...)))
end

-- What `pcall` gives of an error: Redis gives the text of a table that has one.
local caught, thrown = our.caught, our.thrown

local function after_pcall(ok, ...)
  if ok then
    return true, all(...)
  end
  return false, caught((...))
end

local function after_resume(ok, ...)
  if ok then
    return true, all(...)
  end
  return false, thrown((...))
end

-- What is neither is not called, and the interpreter says so.
local function can_be_called(f)
  if type(f) ~= "table" then
    return type(f) == "function"
  end
  local meta = getmetatable(f)
  return meta ~= nil and (type(meta) ~= "table" or rawget(meta, "__call") ~= nil)
end

globals.pcall = function(...)
  if select("#", ...) == 0 then
    -- Redis's own calls what it has put before the results.
    return false, "attempt to call a boolean value"
  end
  if can_be_called((...)) then
    return after_pcall(pcall(call, ...))
  end
  return after_pcall(pcall(...))
end

globals.xpcall = function(...)
  local f, handler = ...
  if select("#", ...) < 2 then
    error("bad argument #2 to 'xpcall' (value expected)", 2)
  end
  local protected = f
  if can_be_called(f) then
    protected = function()
      return few(f())
    end
  end
  return after_resume(xpcall(protected, function(e)
    -- An error of the hook's: no hook would end a handler that doesn't.
    if our.is_stop(e) then
      return e
    end
    return handler(thrown(e))
  end))
end

globals.rawset = passing(function(...)
  local t, k, v = ...
  if type(t) ~= "table" then
    argument(1, "rawset", "table", ...)
  end
  local given = select("#", ...)
  if given < 3 then
    fails("value expected", "rawset", given + 1)
  end
  if frozen[t] then
    error(READONLY, 0)
  end
  return rawset(t, k, v)
end)

globals.rawget = passing(function(...)
  local t, k = ...
  if type(t) ~= "table" then
    argument(1, "rawget", "table", ...)
  end
  if select("#", ...) < 2 then
    fails("value expected", "rawget", 2)
  end
  return rawget(frozen[t] or t, k)
end)

globals.setmetatable = passing(function(...)
  local t, meta = ...
  if type(t) ~= "table" then
    argument(1, "setmetatable", "table", ...)
  end
  if select("#", ...) < 2 or meta ~= nil and type(meta) ~= "table" then
    fails("nil or table expected", "setmetatable", 2)
  end
  if frozen[t] then
    error(READONLY, 0)
  end
  return setmetatable(t, meta)
end)

-- How many places a C function has on the interpreter's stack, for its arguments and for what it returns.
local PLACES = 8000

-- As the interpreter takes a number for a whole one: it cuts what is behind the point.
local function whole(number)
  return number < 0 and -floor(-number) or floor(number)
end

globals.unpack = our.spreading(function(...)
  local t, from, to = ...
  if type(t) ~= "table" then
    argument(1, "unpack", "table", ...)
  end
  local first, last = from or 1, to or #t
  if type(first) ~= "number" or type(last) ~= "number" then
    if tonumber(first) == nil then
      argument(2, "unpack", "number", from)
    elseif tonumber(last) == nil then
      argument(3, "unpack", "number", to)
    end
    return unpack(t, first, last)
  end
  if first % 1 ~= 0 or last % 1 ~= 0 then
    first, last = whole(first), whole(last)
  end
  if first > last then
    return
  end
  local arguments = to and 3 or from and 2 or 1
  -- Not `>`: what is no number is no range either.
  if not (last - first < PLACES - arguments and first > -2 ^ 31 and last < 2 ^ 31 - 1) then
    fails("too many results to unpack")
  end
  if to then
    return unpack(t, from, to)
  elseif from then
    return unpack(t, from)
  end
  return unpack(t)
end)

-- What scripts are told of the collector, which is not theirs to steer.
local COLLECTOR = { collect = 0, stop = 0, restart = 0, step = true, setpause = 200, setstepmul = 200 }

globals.collectgarbage = passing(function(what)
  if what == nil then
    what = "collect"
  end
  if what == "count" then
    return our.used_kilobytes()
  end
  local told = COLLECTOR[what]
  if told == nil then
    if type(what) ~= "string" and type(what) ~= "number" then
      argument(1, "collectgarbage", "string", what)
    end
    fails("invalid option '" .. what .. "'", "collectgarbage", 1)
  end
  return told
end)

globals.gcinfo = function()
  return floor(our.used_kilobytes())
end

globals.loadstring = our.loadstring
globals.load = passing(function(...)
  local f, name = ...
  if type(f) ~= "function" then
    argument(1, "load", "function", ...)
  end
  local pieces = {}
  while true do
    local piece = f()
    if piece == nil or piece == "" then
      break
    elseif type(piece) ~= "string" and type(piece) ~= "number" then
      return nil, "reader function must return a string"
    end
    pieces[#pieces + 1] = piece
  end
  return our.loadstring(concat(pieces), name or "=(load)")
end)

local coroutines = {}
for name, f in next, coroutine do
  coroutines[name] = f
end

coroutines.resume = passing(function(...)
  if type((...)) ~= "thread" then
    fails("coroutine expected", "resume", 1)
  end
  return after_resume(resume(...))
end)

coroutines.yield = function(...)
  return yield(few(...))
end

local function new_coroutine(f, name)
  if not pcall(create, f) then
    fails("Lua function expected", name, 1)
  end
  return create(function(...)
    return few(f(...))
  end)
end

coroutines.create = passing(function(f)
  local thread = new_coroutine(f, "create")
  return thread
end)

-- Level 3 is who called the wrapped function: the call of this one takes its place, and is counted.
local function after_wrapped(ok, ...)
  if ok then
    return all(...)
  end
  error((...), 3)
end

coroutines.wrap = passing(function(f)
  local thread = new_coroutine(f, "wrap")
  return function(...)
    return after_wrapped(resume(thread, ...))
  end
end)

local tables = {}
for name, f in next, table do
  tables[name] = f
end

-- How far before its beginning a table may be moved.
local BEFORE_MAX = 1000000

tables.insert = our.appending(function(...)
  local t, at = ...
  if type(t) ~= "table" then
    argument(1, "insert", "table", ...)
  end
  if frozen[t] then
    error(READONLY, 0)
  end
  local given = select("#", ...)
  if given < 2 or given > 3 then
    fails("wrong number of arguments to 'insert'")
  end
  if given == 3 then
    -- A string is a number here, too.
    local place = tonumber(at)
    if place == nil then
      argument(2, "insert", "number", at)
    elseif not (place > -BEFORE_MAX and place < 2 ^ 31 - 1) then
      fails("position out of bounds", "insert", 2)
    end
  end
  return insert(...)
end)

tables.remove = passing(function(...)
  local t, at = ...
  if type(t) ~= "table" then
    argument(1, "remove", "table", ...)
  end
  if frozen[t] then
    error(READONLY, 0)
  end
  if at ~= nil and tonumber(at) == nil then
    argument(2, "remove", "number", at)
  end
  return remove(...)
end)

local function less(a, b)
  return a < b
end

-- A merge sort: in Lua, so that the instruction hook sees it; no order of the elements makes it slow, and no comparison,
-- however wrong, leads it out of the table.
tables.sort = passing(function(...)
  local t, before = ...
  if type(t) ~= "table" then
    argument(1, "sort", "table", ...)
  elseif before ~= nil and type(before) ~= "function" then
    argument(2, "sort", "function", before)
  elseif frozen[t] then
    error(READONLY, 0)
  end
  before = before or less
  local len = #t
  local from, to = {}, {}
  for at = 1, len do
    from[at] = t[at]
  end
  local width = 1
  while width < len do
    for start = 1, len, 2 * width do
      local left, right = start, start + width
      local middle, stop = right, start + 2 * width
      if middle > len + 1 then
        middle = len + 1
      end
      if stop > len + 1 then
        stop = len + 1
      end
      for at = start, stop - 1 do
        if left < middle and (right >= stop or not before(from[right], from[left])) then
          to[at] = from[left]
          left = left + 1
        else
          to[at] = from[right]
          right = right + 1
        end
      end
    end
    from, to = to, from
    width = 2 * width
  end
  for at = 1, len do
    t[at] = from[at]
  end
end)

local maths = {}
for name, f in next, math do
  maths[name] = f
end
maths.random, maths.randomseed = our.random, our.randomseed

for _, name in next, { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "rawequal", "select", "tonumber",
  "tostring", "type", "_VERSION" } do
  globals[name] = rawget(_G, name)
end

local strings = {}
for name, f in next, string do
  strings[name] = f
end

globals.coroutine = (freeze(coroutines))
globals.table = (freeze(tables))
globals.math = (freeze(maths))
globals.string = (freeze(strings))
globals.os = (freeze({ clock = our.clock }))
for _, name in next, { "bit", "cjson", "cmsgpack", "struct", "redis" } do
  globals[name] = (freeze(our[name]))
end
globals.server = globals.redis

local of_strings = getmetatable("")
of_strings.__index = globals.string
of_strings.__metatable = (freeze({ __index = globals.string }))

-- A name that is not there is an error.
local function missing(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end
local of_missing = { __index = missing }
setmetatable(globals, of_missing)

local environment = freeze(globals, (freeze(of_missing)))
globals._G = environment

-- What libraries see while they are loaded: a `redis` that registers functions, and nothing else.
local loading_redis = setmetatable(our.loading, of_missing)
local while_loading = setmetatable({}, of_missing)
while_loading.redis = (freeze(loading_redis))
while_loading.server = while_loading.redis

-- What their functions see when they are called: what scripts see, without keys and arguments.
local when_called = setmetatable({}, of_missing)
for name, value in next, globals do
  when_called[name] = value
end

local of_libraries, libraries_meta = freeze(when_called, (freeze(of_missing)))
when_called._G = of_libraries

local function show_libraries(real)
  frozen[of_libraries], libraries_meta.__index = real, real
end

local handle = our.handle
local code

local function first_result()
  return (code())
end

-- Runs the code of a library, which registers functions.
local function load_library(f)
  code = f
  show_libraries(while_loading)
  local ok, value = xpcall(first_result, handle)
  show_libraries(when_called)
  return ok, value
end

return { environment, of_libraries, load_library }

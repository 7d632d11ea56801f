-- A closed loop for wrk: wrk -t1 -s load.lua URL -- BODY_FILE KEY_COUNT PIECES openai|fitten
--
-- Every answer's status, length and end are checked; on a sample, that every piece is there.

local threads = {}
local requests, at, wanted, seen, bad = {}, 0, 0, 0, 0
local ending, piece

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local body = file:read("*a")
  file:close()
  wanted = tonumber(args[3])
  if args[4] == "fitten" then
    ending, piece = '"status": "ok"}}\n', '"delta": ?"[^"]'
  else
    ending, piece = "data: [DONE]\n\n", '"content": ?"[^"]'
  end
  for i = 1, tonumber(args[2]) do
    requests[i] = wrk.format("POST", nil, {
      ["Authorization"] = "Bearer sk-bench-4f1c9a7e2d8b6035c1e7a94d-" .. i,
      ["Content-Type"] = "application/json",
    }, body)
  end
  checked_bad, checked_seen, first_bad = 0, 0, "" -- global: `done` reads them
end

function request()
  at = at % #requests + 1
  return requests[at]
end

local function pieces_in(body)
  local count = 0
  for _ in body:gmatch(piece) do count = count + 1 end
  return count
end

function response(status, headers, body)
  seen = seen + 1
  local good = status == 200 and body:sub(-#ending) == ending and #body > 14 * wanted
  if good and seen % 16 == 1 then good = pieces_in(body) == wanted end
  checked_seen = seen
  if not good then
    bad = bad + 1
    checked_bad = bad
    if bad == 1 then first_bad = status .. " " .. body:sub(1, 300):gsub("[^%w ]", ".") end
  end
end

function done(summary, latency)
  local wrong, checked, sample = 0, 0, ""
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("checked_bad")
    checked = checked + thread:get("checked_seen")
    sample = thread:get("first_bad")
  end
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "checked": %d, "wrong": %d, "broken": %d, "seconds": %f, '
    .. '"p50_ms": %f, "p99_ms": %f, "sample": "%s"}\n',
    summary.requests, checked, wrong, e.connect + e.read + e.write + e.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, sample))
end

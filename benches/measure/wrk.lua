-- wrk's part of benches/compare. Arguments after `--`: METHOD BODY_BYTES RATE
-- RATE is requests a second over all connections, 0 for as fast as they go. Prints one line of JSON at the end.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } timespec_t;
  int clock_gettime(int clock, timespec_t *now);
]]

local CLOCK_MONOTONIC = 1
local now = ffi.new("timespec_t")

local function monotonic_ms()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, now)
  return tonumber(now.seconds) * 1000 + tonumber(now.nanoseconds) / 1e6
end

function init(args)
  wrk.method = args[1]
  local size, rate = tonumber(args[2]), tonumber(args[3])
  if size > 0 then
    wrk.body = string.rep("x", size)
  end
  if rate > 0 then
    -- One schedule for all connections: each request takes the next slot, and one that is late is sent at once, so
    -- that a slow answer does not lower the rate. wrk's timers are good to a millisecond.
    local slot, step = monotonic_ms(), 1000 / rate
    function delay()
      slot = slot + step
      return math.max(0, math.ceil(slot - monotonic_ms()))
    end
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"failed":%d,"bad_status":%d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout, e.status))
end

-- One request, which wrk builds once and sends over and over; a line for tests/bench/run at the end.
-- Arguments: the file with the body, the client's key.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["x-goog-api-key"] = args[2]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %.6f %d %d %d\n", summary.requests, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end

-- Mixed reads for wrk: lines of a file, each a path, in random order; the token is in the environment.
local paths = {}
for line in io.lines(os.getenv("READS_PATHS")) do paths[#paths + 1] = line end
local headers = { ["Authorization"] = "Bearer " .. os.getenv("READS_TOKEN"), ["Accept-Encoding"] = "gzip" }
math.randomseed(tonumber(os.getenv("READS_SEED") or "1"))

function request()
  return wrk.format("GET", paths[math.random(#paths)], headers)
end

function done(summary, latency, requests)
  local wrong = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("READS %d %d %.0f %.0f %.0f %.0f\n", summary.requests, wrong, summary.duration,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end

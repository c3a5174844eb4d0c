-- wrk's script: posts messages in turn, counts replies by status.
local messages = {
  "do you like coffee ?", "what should I cook tonight ?", "can you play the guitar ?",
  "I am tired today", "how was your weekend ?", "do you have a dog ?",
  "what is your favorite book ?", "it is raining again", "shall we go for a walk ?",
}
local threads, sent = {}, 0
local search = os.getenv("SEARCH") or "{}"

function setup(thread) table.insert(threads, thread) end

function init(args)
  counts = {}
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  sent = sent + 1
  local message = messages[sent % #messages + 1]
  local body = string.format('{"message":"%s","lens":0,"search":%s}', message, search)
  return wrk.format("POST", "/v1/reply", nil, body)
end

function response(status, headers, body)
  counts[status] = (counts[status] or 0) + 1
end

function done(summary, latency, requests)
  local total = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("counts")) do
      total[status] = (total[status] or 0) + count
    end
  end
  local parts = {}
  for status, count in pairs(total) do
    table.insert(parts, string.format('"%d":%d', status, count))
  end
  local errors = summary.errors
  io.write(string.format(
    'JSON {"seconds":%.3f,"statuses":{%s},"connect":%d,"read":%d,"write":%d,"timeout":%d,' ..
    '"p50":%.1f,"p90":%.1f,"p99":%.1f,"max":%.1f}\n',
    summary.duration / 1e6, table.concat(parts, ","), errors.connect, errors.read, errors.write,
    errors.timeout, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3))
end

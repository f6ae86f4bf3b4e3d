-- Asks a pod's admin port where a room is, and keeps the address for the backend `owner`.
local resolver = "http://scalesocket-admin:9090/resolve/"

core.register_action("resolve", { "http-req" }, function(txn)
    -- The room as it was sent, still encoded: the first component of the path.
    local room = txn.sf:path():match("^/([^/]+)")
    if not room then
        return
    end
    local answer = core.httpclient():get({ url = resolver .. room, timeout = 12000 })
    if not answer or answer.status ~= 200 then
        return
    end
    local endpoint = (answer.headers["scalesocket-endpoint"] or {})[0] or ""
    -- An IPv6 address stands in brackets.
    local ip, port = endpoint:match("^%[?([%x.:]-)%]?:(%d+)$")
    if ip then
        txn:set_var("txn.owner_ip", ip)
        txn:set_var("txn.owner_port", tonumber(port))
    end
end)

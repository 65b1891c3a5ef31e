-- The rules of the tests' Rspamd, which rspamd.py tells of.

-- words in the Subject, and what they score
local scores = {
  ['reject'] = 20,
  ['rewrite-subject'] = 9,
  ['add-header'] = 7,
  ['greylist'] = 5,
}

-- words in the Subject, and the action that they force
local forced = {
  ['soft-reject'] = 'soft reject',
  ['discard'] = 'discard',
  ['quarantine'] = 'quarantine',
}

-- Each form of a header to add or to remove that its modules give.
local function headers(task)
  return {
    add_headers = {
      ['X-Plain'] = 'plain',
      ['X-First'] = { value = 'first', order = 1 },
      ['X-Twice'] = { { value = 'one', order = 0 }, { value = 'two', order = -1 } },
      ['X-Folded'] = { value = 'one,\n\ttwo,\n\tthree', order = -1 },
    },
    remove_headers = { ['X-Spam'] = 0, ['X-Second'] = 2, ['X-Some'] = { 1, 3 } },
  }
end

local function told(task)
  local options = {}
  local function tell(name, value)
    if value then
      table.insert(options, name .. '=' .. tostring(value))
    end
  end
  local from = task:get_from('smtp')
  tell('ip', task:get_from_ip())
  tell('helo', task:get_helo())
  tell('host', task:get_hostname())
  tell('user', task:get_user())
  tell('from', from and from[1] and from[1].addr)
  for _, rcpt in ipairs(task:get_recipients('smtp') or {}) do
    tell('rcpt', rcpt.addr)
  end
  return true, 1.0, options
end

local function says(task, word)
  return (' ' .. (task:get_subject() or '') .. ' '):find(' ' .. word .. ' ', 1, true) ~= nil
end

local function symbol(name, score, callback)
  rspamd_config:register_symbol({ name = name, score = score, callback = callback })
end

local function symbol_of(word)
  return (word:upper():gsub('-', '_'))
end

symbol('TOLD', 0, told)

symbol('MILTER_HEADERS', 0, function(task)
  if says(task, 'milter-headers') then
    task:set_milter_reply(headers(task))
    return true
  end
end)

for word, score in pairs(scores) do
  symbol(symbol_of(word), score, function(task)
    return says(task, word)
  end)
end

for word, action in pairs(forced) do
  symbol(symbol_of(word), 0, function(task)
    if says(task, word) then
      task:set_pre_result(action, 'told to ' .. action, 'tests')
      return true
    end
  end)
end

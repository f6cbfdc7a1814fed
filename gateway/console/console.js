/* The console's behaviour.  Whatever comes from the database or the network becomes a text node, never HTML. */
'use strict';

const ROWS_SHOWN = 1000, CELL_SHOWN = 2000, HISTORY_MAX = 50, POLL_MS = 5000;
const $ = id => document.getElementById(id);

/* el('td.null', {title: 'x'}, 'text', child): properties are set, not parsed. */
function el(spec, props, ...kids) {
  const [tag, ...classes] = spec.split('.');
  const e = document.createElement(tag);
  e.className = classes.join(' ');
  for (const [k, v] of Object.entries(props || {})) {
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (k in e) e[k] = v;
    else e.setAttribute(k, v);
  }
  e.append(...kids.filter(k => k !== null && k !== undefined));
  return e;
}

const plural = (n, word) => n.toLocaleString('en') + ' ' + word + (n === 1 ? '' : 's');
const cutText = (s, n) => s.length > n ? s.slice(0, n) + '…' : s;

function duration(seconds) {
  if (seconds < 0.001) return (seconds * 1e6).toFixed(0) + ' µs';
  return seconds < 1 ? (seconds * 1e3).toFixed(seconds < 0.01 ? 2 : 1) + ' ms' : seconds.toFixed(2) + ' s';
}

function size(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return (i > 0 && n < 10 ? n.toFixed(1) : Math.round(n)) + ' ' + units[i];
}

/* --- talking to the node ------------------------------------------------------------------ */

// The node's URL without the user and password that the page's own may hold: fetch() refuses those, and sends them all
// the same.
const NODE = new URL('../', location.origin + location.pathname).href;

async function ask(path, options) {
  let r;
  try {
    r = await fetch(NODE + path, {cache: 'no-store', ...options});
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Error('The node cannot be reached.');
  }
  const text = await r.text();
  if (r.status === 401) throw new Error('Not allowed: this needs another user or permission (401).');
  if (!r.ok) throw new Error((text.trim() || r.statusText) + ' (' + r.status + ')');
  return text;
}

const askJson = async (path, options) => parseExact(await ask(path, options));

/* Rows of one query on this node, for the console's own use. */
async function rowsOf(sql, ...args) {
  const a = await askJson('db/query?level=none', {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify([[sql, ...args]])});
  const result = a.results[0] || {};
  if (a.error || result.error) throw new Error(a.error || result.error);
  return result.values || [];
}

function alertText(text) {
  $('alert').textContent = text || '';
  $('alert').hidden = !text;
}

/* Run f; what goes wrong is said at the top of the page. */
async function guarded(f) {
  try {
    await f();
    alertText('');
  } catch (e) {
    alertText(e.message);
  }
}

/* --- tables ------------------------------------------------------------------------------- */

/* A table for people to read: columns are texts, cells texts or nodes. */
function plainTable(caption, columns, rows) {
  return el('table', {}, el('caption.hidden', {}, caption),
    el('thead', {}, el('tr', {}, ...columns.map(c => el('th', {scope: 'col'}, c)))),
    el('tbody', {}, ...rows.map(r => el('tr', {}, ...r.map(v => el('td', {}, v instanceof Node ? v : String(v ?? '')))))));
}

function cell(v, numeric) {
  if (v === null) return el('td.null' + (numeric ? '.number' : ''), {}, 'NULL');
  if (Array.isArray(v)) {
    const shown = hex(v.slice(0, 48));
    return el('td.blob' + (v.length > 16 ? '.long' : ''), {title: 'A blob: its bytes in hexadecimal'},
      el('span', {}, 'blob, ' + plural(v.length, 'byte')), shown + (v.length > 48 ? '…' : ''));
  }
  if (typeof v === 'number' || v instanceof Digits) return el('td.number', {}, String(v));
  const s = String(v);
  if (s.length <= CELL_SHOWN) return el(s.length > 40 ? 'td.long' : 'td', {}, s);
  return el('td.long', {}, s.slice(0, CELL_SHOWN), el('span.cut', {}, '… ' + plural(s.length, 'character') + ' in all'));
}

function dataTable(result) {
  const {columns, types = [], values = []} = result;
  const numeric = columns.map((_, i) => values.length > 0 &&
    values.slice(0, 50).every(r => r[i] === null || typeof r[i] === 'number' || r[i] instanceof Digits));
  const body = el('tbody');
  let shown = 0;
  const more = el('div.more', {hidden: true});
  const add = () => {
    const piece = document.createDocumentFragment();
    for (const end = Math.min(shown + ROWS_SHOWN, values.length); shown < end; shown++)
      piece.append(el('tr', {}, el('td.row-number', {'aria-hidden': 'true'}, String(shown + 1)), ...values[shown].map((v, i) => cell(v, numeric[i])), el('td.rest')));
    body.append(piece);
    more.hidden = shown >= values.length;
    more.firstChild.textContent = 'Showing ' + shown.toLocaleString('en') + ' of ' + plural(values.length, 'row') + '.';
  };
  more.append(el('span'), el('button.link', {type: 'button', onclick: add}, 'Show more'));
  add();
  return [el('div.scroll', {tabIndex: 0, role: 'region', 'aria-label': 'Rows'},
    el('table.data', {}, el('thead', {}, el('tr', {}, el('td.row-number', {'aria-hidden': 'true'}),
      ...columns.map((c, i) => el('th' + (numeric[i] ? '.number' : ''), {scope: 'col'}, c, el('small', {}, types[i] || ''))), el('td.rest'))), body)), more];
}

function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], {type}));
  el('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/* --- queries ------------------------------------------------------------------------------ */

function resultCard(result, sql) {
  const head = el('header', {}, el('code', {title: sql}, cutText(sql.replace(/\s+/g, ' '), 300)));
  const card = el('section.card.result', {'aria-label': 'Result'}, head);
  if (result.error) {
    head.append(el('span.badge.bad', {}, 'error'));
    card.append(el('p.error', {}, result.error));
  }
  if (result.columns) {
    const n = (result.values || []).length;
    head.append(el('span', {}, plural(n, 'row')));
    if (n > 0)
      head.append(el('button.link', {type: 'button',
        onclick: () => download('result.csv', 'text/csv', toCsv(result.columns, result.values))}, 'CSV'));
    card.append(...dataTable(result));
  } else if (!result.error) {
    head.append(el('span', {}, plural(result.rows_affected || 0, 'row') + ' changed'));
    if (result.last_insert_id) head.append(el('span.muted', {}, 'last insert ID ' + result.last_insert_id));
  }
  if (result.time) head.append(el('span.muted', {}, duration(result.time)));
  return card;
}

let running = null;

function setRunning(controller) {
  running = controller;
  $('run').disabled = controller !== null;
  $('cancel').hidden = controller === null;
}

async function run() {
  const statements = splitStatements($('sql').value);
  const endpoint = $('endpoint').value;
  if (running || statements.length === 0) return;
  const params = ['timings', 'blob_array'];
  if (endpoint !== 'execute') params.push('level=' + $('level').value);
  if ($('transaction').checked) params.push('transaction');
  const controller = new AbortController();
  const begun = performance.now();
  setRunning(controller);
  $('outcome').className = 'outcome';
  $('outcome').textContent = 'Running …';
  remember($('sql').value.trim());
  try {
    const a = await askJson('db/' + endpoint + '?' + params.join('&'), {
      method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(statements), signal: controller.signal});
    const took = (performance.now() - begun) / 1000;
    $('results').replaceChildren(...a.results.map((r, i) => resultCard(r, statements[i] || '')));
    $('outcome').textContent = a.error ? '' : plural(a.results.length, 'result') + ' in ' + duration(a.time || took) +
      (took > 2 * (a.time || took) + 0.05 ? ', ' + duration(took) + ' with the network' : '');
    if (a.error) throw new Error(a.error);
  } catch (e) {
    $('outcome').className = 'outcome error';
    $('outcome').textContent = e.name === 'AbortError' ? 'Cancelled: a write may have been carried out all the same.' : e.message;
    if (e.name === 'AbortError') $('results').replaceChildren();
  } finally {
    setRunning(null);
  }
}

/* --- history: in the browser only ---------------------------------------------------------- */

const Past = {
  list: [],
  load() {
    try {
      const kept = JSON.parse(localStorage.getItem('rqlite-history') || '[]');
      if (Array.isArray(kept)) this.list = kept.filter(s => typeof s === 'string').slice(0, HISTORY_MAX);
    } catch { /* none */ }
    this.show();
  },
  save() {
    try { localStorage.setItem('rqlite-history', JSON.stringify(this.list)); } catch { /* full, or private */ }
    this.show();
  },
  show() {
    $('history').replaceChildren(...this.list.map(sql => el('li', {}, el('button', {type: 'button', title: cutText(sql, 1000),
      onclick: () => { $('sql').value = sql; $('history-menu').open = false; $('sql').focus(); }}, sql.replace(/\s+/g, ' ')))));
    $('history-none').hidden = this.list.length > 0;
    $('history-clear').hidden = this.list.length === 0;
  },
};

function remember(sql) {
  if (sql.length > 20000) return;
  Past.list = [sql, ...Past.list.filter(s => s !== sql)].slice(0, HISTORY_MAX);
  Past.save();
}

/* --- schema -------------------------------------------------------------------------------- */

let schema = [];

async function loadSchema() {
  const rows = await rowsOf("SELECT type, name, tbl_name, sql FROM sqlite_master " +
    "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type = 'view', name");
  schema = rows.map(([type, name, table, sql]) => ({type, name, table, sql}));
  listSchema();
}

function listSchema() {
  const wanted = $('schema-filter').value.toLowerCase();
  const current = document.querySelector('#schema-list [aria-current=true]')?.dataset.name;
  const shown = schema.filter(s => (s.type === 'table' || s.type === 'view') && s.name.toLowerCase().includes(wanted));
  $('schema-list').replaceChildren(...shown.map(s => {
    const b = el('button', {type: 'button', onclick: () => guarded(() => showTable(s))}, s.name,
      s.type === 'view' ? el('span.badge', {}, 'view') : null);
    b.dataset.name = s.name;
    b.setAttribute('aria-current', s.name === current);
    return el('li', {}, b);
  }));
  if (shown.length === 0) $('schema-list').append(el('li.muted.empty', {}, schema.length ? 'None of that name.' : 'No tables yet.'));
}

async function showTable(s) {
  for (const b of $('schema-list').querySelectorAll('button')) b.setAttribute('aria-current', b.dataset.name === s.name);
  const [columns, keys, indexes] = await Promise.all([
    rowsOf('SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)', s.name),
    rowsOf('SELECT "from", "table", "to", on_update, on_delete FROM pragma_foreign_key_list(?)', s.name),
    rowsOf('SELECT l.name, l."unique", l.origin, l.partial, group_concat(coalesce(i.name, \'(expression)\'), \', \') ' +
      'FROM pragma_index_list(?) l JOIN pragma_index_info(l.name) i GROUP BY l.seq ORDER BY l.seq', s.name)]);
  const count = el('span.muted');
  const out = [
    el('div.bar', {}, el('h2', {}, s.name), s.type === 'view' ? el('span.badge', {}, 'view') : null, count, el('span.space'),
      el('button', {type: 'button', onclick: () => guarded(async () => {
        const [[n]] = await rowsOf('SELECT count(*) FROM ' + quoteName(s.name));
        count.textContent = plural(n, 'row');
      })}, 'Count rows'),
      el('button.primary', {type: 'button', onclick: () => browse(s.name)}, 'Browse')),
    el('h3', {}, 'Columns'),
    el('div.card.scroll', {}, plainTable('Columns of ' + s.name, ['Name', 'Type', 'Null', 'Default', 'Key'],
      columns.map(([name, type, notNull, dflt, pk, hidden]) => [name, type || '–',
        notNull || pk && type.toUpperCase() === 'INTEGER' ? 'no' : 'yes',
        hidden > 1 ? 'generated' : dflt ?? '', pk ? 'primary' + (pk > 1 ? ' ' + pk : '') : '']))),
  ];
  if (indexes.length > 0)
    out.push(el('h3', {}, 'Indexes'), el('div.card.scroll', {}, plainTable('Indexes', ['Name', 'Columns', 'Unique', 'Made by'],
      indexes.map(([name, unique, origin, partial, names]) => [name, names + (partial ? ' (partial)' : ''), unique ? 'yes' : 'no',
        {c: 'CREATE INDEX', u: 'UNIQUE', pk: 'PRIMARY KEY'}[origin] || origin]))));
  if (keys.length > 0)
    out.push(el('h3', {}, 'Foreign keys'), el('div.card.scroll', {}, plainTable('Foreign keys', ['Column', 'Refers to', 'On update', 'On delete'],
      keys.map(([from, table, to, update, del]) => [from, table + (to === null ? '' : ' (' + to + ')'), update, del]))));
  const texts = [s, ...schema.filter(t => t.table === s.name && t.sql && (t.type === 'index' || t.type === 'trigger'))];
  out.push(el('h3', {}, 'SQL'), el('div.card', {}, el('pre', {tabIndex: 0}, texts.map(t => t.sql + ';').join('\n\n'))));
  $('schema-detail').replaceChildren(...out);
}

function browse(name) {
  $('sql').value = 'SELECT * FROM ' + quoteName(name) + ' LIMIT 100';
  select('query');
  run();
}

/* --- nodes --------------------------------------------------------------------------------- */

/* Entries that each peer has yet to confirm, as far as this node (the leader, then) knows. */
async function lags() {
  const out = new Map();
  for (const m of (await ask('metrics')).matchAll(/^rqlite_raft_peer_lag_entries\{peer="((?:[^"\\]|\\.)*)"\} (\d+)$/gm))
    out.set(m[1].replace(/\\(.)/g, (_, c) => c === 'n' ? '\n' : c), Number(m[2]));
  return out;
}

async function loadNodes() {
  const [{nodes}, lag] = await Promise.all([askJson('nodes?nonvoters&ver=2'), lags().catch(() => new Map())]);
  const badge = (text, kind) => el('span.badge.' + kind, {}, text);
  $('nodes').replaceChildren(el('div.card.scroll', {}, plainTable('Nodes of the cluster',
    ['Node', 'Role', 'Reachable', 'HTTP', 'Raft', 'Answers in', 'Behind', 'Version'],
    nodes.map(n => [el('strong', {}, n.id),
      n.leader ? badge('Leader', 'good') : n.voter ? badge('Voter', 'info') : badge('Read replica', 'warn'),
      n.reachable ? badge('yes', 'good') : el('span', {}, badge('no', 'bad'), ' ', el('span.error', {}, n.error || '')),
      n.api_addr && /^https?:/.test(n.api_addr) ? el('a', {href: n.api_addr + '/console/', rel: 'noreferrer'}, n.api_addr) : '–',
      n.addr, n.reachable && n.time !== undefined ? duration(n.time) : '–',
      n.leader ? '–' : lag.has(n.id) ? plural(lag.get(n.id), 'entry').replace('entrys', 'entries') : 'known to the leader',
      n.version || '–']))));
}

/* --- status -------------------------------------------------------------------------------- */

function figureCard(title, rows) {
  return el('div.card', {}, el('h3', {}, title), el('dl', {},
    ...rows.filter(([, v]) => v !== undefined && v !== null && v !== '').flatMap(([k, v]) => [el('dt', {}, k), el('dd', {}, String(v))])));
}

const number = v => typeof v === 'number' ? v.toLocaleString('en') : v;

async function loadStatus() {
  const text = await ask('status?pretty');
  const s = parseExact(text), store = s.store || {}, raft = store.raft || {}, db = store.sqlite3 || {};
  const pool = (db.conn_pool_stats || {}).ro || {};
  $('figures').replaceChildren(
    figureCard('Node', [['ID', store.node_id], ['Up since', s.node && new Date(s.node.start_time).toLocaleString()], ['Up for', s.node && s.node.uptime.replace(/\.\d+s$/, 's')],
      ['Version', s.build.version], ['Host', s.os.hostname], ['Threads', s.runtime.num_goroutine]]),
    figureCard('Raft', [['State', raft.state], ['Term', number(raft.term)], ['Leader', (store.leader || {}).node_id || 'none'],
      ['Committed', number(raft.commit_index)], ['Applied', number(raft.applied_index)],
      ['Last contact', raft.state === 'Leader' ? 'leader itself' : raft.last_contact], ['Other voters', raft.num_peers]]),
    figureCard('Database', [['Where', db.path === ':memory:' ? 'in memory' : db.path], ['Size', db.db_size === undefined ? '' : size(db.db_size)],
      ['SQLite WAL', db.wal_size === undefined ? '' : size(db.wal_size)], ['SQLite', db.version], ['Foreign keys', db.fk_constraints],
      ['Readers', pool.open_connections === undefined ? '' : pool.in_use + ' of ' + pool.open_connections + ' at work']]),
    figureCard('On disk', [['Data directory', store.dir], ['Size', store.dir_size === undefined ? '' : size(store.dir_size)],
      ['Raft log', raft.log_size === undefined ? '' : size(raft.log_size)],
      ['Last snapshot at', raft.last_snapshot_index === 0 ? 'none yet' : number(raft.last_snapshot_index)]]));
  $('status-raw').textContent = text;
}

/* --- the head ------------------------------------------------------------------------------ */

async function loadHead() {
  let store = {}, build = {};
  try {
    const s = await askJson('status');
    store = s.store || {};
    build = s.build || {};
  } catch (e) {
    $('raft-state').className = 'badge bad';
    $('raft-state').textContent = /401/.test(e.message) ? 'not allowed' : 'unreachable';
    return;
  }
  const state = store.open ? (store.raft || {}).state || 'unknown' : 'not open';
  const kind = {Leader: 'good', Follower: 'info', Candidate: 'warn'}[state] || 'bad';
  $('node-id').textContent = store.node_id || '–';
  if ($('raft-state').textContent !== state) $('raft-state').textContent = state;
  $('raft-state').className = 'badge ' + kind;
  $('leader-id').textContent = (store.leader || {}).node_id || 'none';
  $('version').textContent = build.version || '–';
  document.title = (store.node_id ? store.node_id + ' · ' : '') + 'rqlite console';
}

/* --- backup and restore --------------------------------------------------------------------- */

function backupUrl() {
  const form = document.querySelector('input[name=form]:checked').value;
  const params = form ? [form] : [];
  const tables = $('backup-tables').value.trim();
  if (form === 'fmt=sql' && tables) params.push('tables=' + tables.split(/\s*,\s*/).map(encodeURIComponent).join(','));
  if ($('backup-gzip').checked) params.push('compress');
  if ($('backup-local').checked) params.push('noleader');
  const name = 'backup-' + new Date().toISOString().slice(0, 19).replaceAll(':', '') +
    (form === 'fmt=sql' ? '.sql' : '.sqlite') + ($('backup-gzip').checked ? '.gz' : '');
  return [params.length ? '../db/backup?' + params.join('&') : '../db/backup', name];
}

const SQLITE_MAGIC = 'SQLite format';

async function fileKind(file) {
  const head = await file.slice(0, 16).text();
  return head.startsWith(SQLITE_MAGIC) ? 'sqlite' : /^\x1f/.test(head) ? 'gzip' : 'sql';
}

async function chosen() {
  const file = $('restore-file').files[0];
  $('restore').disabled = true;
  $('restore-outcome').textContent = '';
  $('restore-what').textContent = '';
  if (!file) return;
  const kind = await fileKind(file);
  const what = {sqlite: 'a SQLite database', sql: 'SQL text', gzip: 'compressed: unpack it first'}[kind];
  $('restore-what').textContent = file.name + ', ' + size(file.size) + ', ' + what;
  $('restore').disabled = kind === 'gzip' || file.size === 0;
}

function upload(file, kind) {
  return new Promise((resolve, reject) => {
    const x = new XMLHttpRequest();
    x.open('POST', '../db/load?timings');
    x.setRequestHeader('Content-Type', kind === 'sqlite' ? 'application/octet-stream' : 'text/plain');
    x.upload.onprogress = e => {
      if (e.lengthComputable) $('restore-progress').value = e.loaded / e.total;
    };
    x.onload = () => {
      if (x.status !== 200) { reject(new Error((x.responseText.trim() || x.statusText) + ' (' + x.status + ')')); return; }
      const a = parseExact(x.responseText), error = a.error || ((a.results || [])[0] || {}).error;
      if (error) reject(new Error(error)); else resolve(a);
    };
    x.onerror = () => reject(new Error('The node cannot be reached.'));
    x.send(file);
  });
}

async function restore() {
  const file = $('restore-file').files[0], out = $('restore-outcome');
  if (!file) return;
  const kind = await fileKind(file);
  $('confirm-text').textContent = kind === 'sqlite'
    ? file.name + ' becomes the whole database, on every node. All that is in it now is lost.'
    : 'The statements of ' + file.name + ' are run on the database, on every node.';
  $('confirm').returnValue = 'no';
  $('confirm').showModal();
  await new Promise(resolve => $('confirm').addEventListener('close', resolve, {once: true}));
  if ($('confirm').returnValue !== 'yes') return;
  $('restore').disabled = true;
  $('restore-progress').hidden = false;
  out.className = '';
  out.textContent = 'Loading …';
  try {
    const a = await upload(file, kind);
    out.textContent = 'Loaded' + (a.time ? ' in ' + duration(a.time) : '') + '.';
  } catch (e) {
    out.className = 'error';
    out.textContent = e.message;
  } finally {
    $('restore').disabled = false;
    $('restore-progress').hidden = true;
    $('restore-progress').value = 0;
  }
}

/* --- tabs ------------------------------------------------------------------------------------ */

const tabs = [...document.querySelectorAll('[role=tab]')];
const nameOf = tab => tab.id.slice(4);
const loaders = {schema: loadSchema, nodes: loadNodes, status: loadStatus};
let current = 'query';

function select(name, focus) {
  current = tabs.some(t => nameOf(t) === name) ? name : 'query';
  for (const t of tabs) {
    const on = nameOf(t) === current;
    t.setAttribute('aria-selected', on);
    t.tabIndex = on ? 0 : -1;
    $('panel-' + nameOf(t)).hidden = !on;
    if (on && focus) t.focus();
  }
  history.replaceState(null, '', '#' + current);
  alertText('');
  if (loaders[current]) guarded(loaders[current]);
}

function onTabKey(e) {
  const i = tabs.indexOf(e.target);
  const to = {ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1}[e.key];
  if (to === undefined) return;
  e.preventDefault();
  select(nameOf(tabs[(to + tabs.length) % tabs.length]), true);
}

/* --- putting it together ---------------------------------------------------------------------- */

function showTheme() {
  const name = Theme.get();
  $('theme').textContent = {auto: '◐ Auto', light: '☀ Light', dark: '☾ Dark'}[name];
  $('theme').setAttribute('aria-label', 'Colours: ' + name);
}

function begin() {
  for (const t of tabs) {
    t.addEventListener('click', () => select(nameOf(t)));
    t.addEventListener('keydown', onTabKey);
  }
  window.addEventListener('hashchange', () => select(location.hash.slice(1)));
  $('theme').addEventListener('click', () => {
    Theme.set(Theme.order[(Theme.order.indexOf(Theme.get()) + 1) % Theme.order.length]);
    showTheme();
  });
  showTheme();

  $('sql-form').addEventListener('submit', e => { e.preventDefault(); run(); });
  $('sql').addEventListener('keydown', e => {
    if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) { e.preventDefault(); run(); }
  });
  $('cancel').addEventListener('click', () => running && running.abort());
  $('endpoint').addEventListener('change', () => { $('level').disabled = $('endpoint').value === 'execute'; });
  $('history-clear').addEventListener('click', () => { Past.list = []; Past.save(); });
  document.addEventListener('click', e => { if (!$('history-menu').contains(e.target)) $('history-menu').open = false; });
  document.addEventListener('keydown', e => { if (e.key === 'Escape') $('history-menu').open = false; });
  Past.load();

  $('schema-filter').addEventListener('input', listSchema);
  $('schema-refresh').addEventListener('click', () => guarded(loadSchema));
  $('nodes-refresh').addEventListener('click', () => guarded(loadNodes));
  $('status-refresh').addEventListener('click', () => guarded(loadStatus));

  $('backup-form').addEventListener('change', () => {
    $('backup-tables').disabled = document.querySelector('input[name=form]:checked').value !== 'fmt=sql';
  });
  $('backup-form').addEventListener('submit', e => {
    e.preventDefault();
    const [href, name] = backupUrl();
    el('a', {href, download: name}).click();
  });

  $('restore-file').addEventListener('change', () => guarded(chosen));
  $('restore-form').addEventListener('submit', e => { e.preventDefault(); guarded(restore); });
  for (const type of ['dragenter', 'dragover'])
    $('drop').addEventListener(type, e => { e.preventDefault(); $('drop').classList.add('over'); });
  for (const type of ['dragleave', 'drop']) $('drop').addEventListener(type, () => $('drop').classList.remove('over'));
  $('drop').addEventListener('drop', e => {
    e.preventDefault();
    if (e.dataTransfer.files.length > 0) { $('restore-file').files = e.dataTransfer.files; guarded(chosen); }
  });

  loadHead();
  setInterval(() => {
    if (document.hidden) return;
    loadHead();
    if (current === 'status' && $('status-auto').checked) guarded(loadStatus);
    if (current === 'nodes') guarded(loadNodes);
  }, POLL_MS);
  select(location.hash.slice(1));
}

begin();

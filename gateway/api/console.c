/* SPDX-License-Identifier: MIT */
/* /, /console/ and /licenses (HTTP API 13.3, 13.4).  The page is kept small: it speaks to
 * the same endpoints as everybody else. */
#include <string.h>

#include "gateway/api/api.h"

static const char page[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\"><head><meta charset=\"utf-8\"><title>rqlite console</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<link rel=\"stylesheet\" href=\"/console/static/console.css\">\n"
    "<link rel=\"icon\" href=\"data:,\">\n"
    "<script defer src=\"/console/static/console.js\"></script></head>\n"
    "<body>\n"
    "<header><h1>rqlite</h1><p id=\"node\"></p></header>\n"
    "<main>\n"
    "<nav><h2>Tables</h2><ul id=\"tables\"></ul><button "
    "id=\"refresh\">Refresh</button></nav>\n"
    "<section>\n"
    "<h2>SQL</h2>\n"
    "<form id=\"form\"><textarea id=\"sql\" rows=\"6\" spellcheck=\"false\" autofocus "
    "placeholder=\"SELECT * FROM ...\"></textarea>\n"
    "<p><button id=\"query\" type=\"submit\">Query</button>\n"
    "<button id=\"execute\" type=\"button\">Execute</button>\n"
    "<label>Level <select id=\"level\"><option>weak</option><option>none</option>"
    "<option>linearizable</option><option>strong</option></select></label>\n"
    "<span id=\"time\"></span></p></form>\n"
    "<div id=\"result\"></div>\n"
    "<h2>Nodes</h2><div id=\"nodes\"></div>\n"
    "<h2>Backup</h2><p><a href=\"/db/backup\" download=\"backup.sqlite\">SQLite "
    "file</a>\n"
    "<a href=\"/db/backup?fmt=sql\" download=\"backup.sql\">SQL text</a></p>\n"
    "<h2>Restore</h2><p><input id=\"file\" type=\"file\"> <button "
    "id=\"restore\">Load</button></p>\n"
    "</section>\n"
    "</main>\n"
    "</body></html>\n";

static const char style[] =
    ":root{color-scheme:light dark;font:15px/1.4 system-ui,sans-serif}\n"
    "body{margin:0}\n"
    "header{display:flex;gap:1em;align-items:baseline;padding:.5em 1em;border-bottom:1px "
    "solid #8888}\n"
    "h1{font-size:1.3em;margin:0}h2{font-size:1em;margin:1em 0 .3em}\n"
    "main{display:flex;gap:2em;padding:0 "
    "1em}nav{min-width:10em}section{flex:1;min-width:0}\n"
    "nav ul{list-style:none;padding:0}nav a{cursor:pointer;text-decoration:underline}\n"
    "textarea{width:100%;box-sizing:border-box;font:14px/1.4 ui-monospace,monospace}\n"
    "table{border-collapse:collapse}td,th{border:1px solid #8888;padding:.15em "
    ".5em;text-align:left;"
    "font:13px/1.4 ui-monospace,monospace;white-space:pre-wrap}\n"
    "#result{overflow:auto;max-height:60vh}.error{color:#c33}.null{opacity:.5}\n";

static const char script[] =
    "'use strict';\n"
    "const $ = id => document.getElementById(id);\n"
    "function cell(tag, v) {\n"
    "  const e = document.createElement(tag);\n"
    "  e.textContent = v === null ? 'NULL' : typeof v === 'object' ? JSON.stringify(v) : "
    "String(v);\n"
    "  if (v === null) e.className = 'null';\n"
    "  return e;\n"
    "}\n"
    "function table(columns, rows) {\n"
    "  const t = document.createElement('table'), head = t.insertRow();\n"
    "  for (const c of columns) head.append(cell('th', c));\n"
    "  for (const r of rows) { const tr = t.insertRow(); for (const v of r) "
    "tr.append(cell('td', v)); }\n"
    "  return t;\n"
    "}\n"
    "function note(text, error) {\n"
    "  const p = cell('p', text);\n"
    "  if (error) p.className = 'error';\n"
    "  return p;\n"
    "}\n"
    "async function ask(path, options) {\n"
    "  const r = await fetch(path, options), text = await r.text();\n"
    "  if (!r.ok) throw new Error(r.status + ' ' + text.trim());\n"
    "  return text ? JSON.parse(text) : {};\n"
    "}\n"
    "function show(a) {\n"
    "  const out = $('result');\n"
    "  out.replaceChildren();\n"
    "  if (a.error) out.append(note(a.error, true));\n"
    "  for (const r of a.results || []) {\n"
    "    if (r.error) out.append(note(r.error, true));\n"
    "    else if (r.columns) out.append(table(r.columns, r.values || []), note((r.values "
    "|| []).length + ' rows'));\n"
    "    else out.append(note('ok, rows affected ' + (r.rows_affected || 0) + ', last "
    "insert id ' + "
    "(r.last_insert_id || 0)));\n"
    "  }\n"
    "  $('time').textContent = a.time ? (a.time * 1000).toFixed(2) + ' ms' : '';\n"
    "}\n"
    "async function run(path) {\n"
    "  try {\n"
    "    show(await ask(path, {method: 'POST', headers: {'Content-Type': "
    "'application/json'},\n"
    "      body: JSON.stringify([$('sql').value])}));\n"
    "  } catch (e) { $('result').replaceChildren(note(e.message, true)); }\n"
    "}\n"
    "async function refresh() {\n"
    "  try {\n"
    "    const sql = \"SELECT name FROM sqlite_master WHERE type IN ('table','view') "
    "ORDER BY name\";\n"
    "    const a = await ask('/db/query?level=none&q=' + encodeURIComponent(sql));\n"
    "    $('tables').replaceChildren(...((a.results[0] || {}).values || []).map(([name]) "
    "=> {\n"
    "      const li = document.createElement('li'), link = cell('a', name);\n"
    "      link.onclick = () => { $('sql').value = 'SELECT * FROM \"' + "
    "name.replaceAll('\"', '\"\"') + "
    "'\" LIMIT 100'; run('/db/query?timings'); };\n"
    "      li.append(link);\n"
    "      return li;\n"
    "    }));\n"
    "    const s = await ask('/status'), raft = (s.store || {}).raft || {};\n"
    "    $('node').textContent = ((s.store || {}).node_id || '') + ' ' + (raft.state || "
    "'') + ', ' + s.build.version;\n"
    "    const n = await ask('/nodes?nonvoters&ver=2');\n"
    "    $('nodes').replaceChildren(table(['id', 'api_addr', 'addr', 'leader', 'voter', "
    "'reachable'],\n"
    "      n.nodes.map(x => [x.id, x.api_addr || '', x.addr, x.leader, x.voter, "
    "x.reachable])));\n"
    "  } catch (e) { $('node').textContent = e.message; }\n"
    "}\n"
    "$('form').onsubmit = e => { e.preventDefault(); run('/db/query?timings&level=' + "
    "$('level').value); };\n"
    "$('execute').onclick = async () => { await run('/db/execute?timings'); refresh(); "
    "};\n"
    "$('refresh').onclick = refresh;\n"
    "$('restore').onclick = async () => {\n"
    "  const f = $('file').files[0];\n"
    "  if (!f || !confirm('Load ' + f.name + '?')) return;\n"
    "  try { show(await ask('/db/load', {method: 'POST', body: f})); refresh(); }\n"
    "  catch (e) { $('result').replaceChildren(note(e.message, true)); }\n"
    "};\n"
    "refresh();\n";

static const char licences[] =
    "rqlited (MIT)\n"
    "\n"
    "Permission is hereby granted, free of charge, to any person obtaining a copy of "
    "this software and\n"
    "associated documentation files (the \"Software\"), to deal in the Software without "
    "restriction,\n"
    "including without limitation the rights to use, copy, modify, merge, publish, "
    "distribute,\n"
    "sublicense, and/or sell copies of the Software, and to permit persons to whom the "
    "Software is\n"
    "furnished to do so, subject to the following conditions:\n"
    "\n"
    "The above copyright notice and this permission notice shall be included in all "
    "copies or\n"
    "substantial portions of the Software.\n"
    "\n"
    "THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR "
    "IMPLIED, INCLUDING BUT\n"
    "NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE "
    "AND\n"
    "NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR "
    "ANY CLAIM,\n"
    "DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, "
    "ARISING FROM, OUT\n"
    "OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE "
    "SOFTWARE.\n"
    "\n"
    "It is linked with\n"
    "\n"
    "SQLite             public domain                 https://sqlite.org/copyright.html\n"
    "protobuf-c         BSD 2-clause                  "
    "https://github.com/protobuf-c/protobuf-c\n"
    "libevent           BSD 3-clause                  https://libevent.org\n"
    "nghttp2            MIT                           https://nghttp2.org\n"
    "llhttp             MIT                           https://github.com/nodejs/llhttp\n"
    "libcurl            curl (MIT-like)               "
    "https://curl.se/docs/copyright.html\n"
    "jansson            MIT                           "
    "https://github.com/akheron/jansson\n"
    "OpenSSL            Apache 2.0                    https://www.openssl.org\n"
    "zlib               zlib                          https://zlib.net\n"
    "libxcrypt          LGPL 2.1                      "
    "https://github.com/besser82/libxcrypt\n"
    "GNU C library      LGPL 2.1                      https://www.gnu.org/software/libc\n"
    "\n"
    "Their full texts are in /usr/share/doc/<package>/copyright on Debian.\n";

static void respond(struct http_exchange *x, const char *type, const char *text)
{
    struct http_response r = {.status = 200, .content_type = type};
    struct buf body;

    if (strcmp(type, API_TEXT) != 0) {
        r.headers[r.n_headers++] = (struct http_header){
            "Content-Security-Policy", "default-src 'self'; img-src 'self' data:; "
                                       "frame-ancestors 'none'; form-action 'self'"};
        r.headers[r.n_headers++] =
            (struct http_header){"X-Content-Type-Options", "nosniff"};
        r.headers[r.n_headers++] = (struct http_header){"Cache-Control", "no-cache"};
    }
    buf_init(&body, 0);
    buf_append_str(&body, text);
    http_respond(x, &r, &body);
    buf_fini(&body);
}

static void move_to(struct http_exchange *x, int status, const char *word,
                    const char *location)
{
    bool get = x->request.method == HTTP_GET, head = x->request.method == HTTP_HEAD;
    struct http_response r = {.status = status,
                              .content_type =
                                  get || head ? "text/html; charset=utf-8" : NULL};
    struct buf body;

    r.headers[r.n_headers++] = (struct http_header){"Location", location};
    buf_init(&body, 0);
    if (get) buf_printf(&body, "<a href=\"%s\">%s</a>.\n\n", location, word);
    http_respond(x, &r, &body);
    buf_fini(&body);
}

/* "/", "" and "/console". */
void api_root(struct http_exchange *x, const struct params *p)
{
    (void)p;
    if (x->request.path_len > 1)
        move_to(x, 301, "Moved Permanently", "/console/");
    else
        move_to(x, 302, "Found", "/console/");
}

void api_console(struct http_exchange *x, const struct params *p)
{
    const char *path = x->request.path;

    (void)p;
    if (strcmp(path, "/console/") == 0)
        respond(x, "text/html; charset=utf-8", page);
    else if (strcmp(path, "/console/static/console.css") == 0)
        respond(x, "text/css; charset=utf-8", style);
    else if (strcmp(path, "/console/static/console.js") == 0)
        respond(x, "text/javascript; charset=utf-8", script);
    else if (strcmp(path, "/console/index.html") == 0)
        move_to(x, 301, "Moved Permanently", "./");
    else
        http_respond_text(x, 404, "404 page not found");
}

void api_licenses(struct http_exchange *x, const struct params *p)
{
    (void)p;
    respond(x, API_TEXT, licences);
}

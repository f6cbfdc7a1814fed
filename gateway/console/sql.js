/* SQL and JSON as text: taking statements apart, quoting, numbers that are too large for JavaScript. */
'use strict';

/* One token: white space, a comment, something quoted, a word, or a character. */
const SQL_TOKEN = /\s+|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:[^']|'')*(?:'|$)|"(?:[^"]|"")*(?:"|$)|`(?:[^`]|``)*(?:`|$)|\[[^\]]*(?:\]|$)|[\p{L}_][\p{L}\p{N}_$]*|[\s\S]/uy;

/* The statements of a text, without what separates them.  The body of a trigger holds semicolons of its own: it
 * ends with END. */
function splitStatements(text) {
  const out = [];
  let start = 0, words = [], trigger = false, last = '', depth = 0, seen = false;
  const end = at => {
    if (seen) out.push(text.slice(start, at).trim());
    words = []; trigger = false; last = ''; depth = 0; seen = false;
  };
  SQL_TOKEN.lastIndex = 0;
  for (let m; SQL_TOKEN.lastIndex < text.length && (m = SQL_TOKEN.exec(text));) {
    const t = m[0];
    if (/^(?:\s|--|\/\*)/.test(t)) continue;
    if (t === ';' && !(trigger && !(last === 'END' && depth === 0))) {
      end(m.index);
      start = SQL_TOKEN.lastIndex;
      continue;
    }
    seen = true;
    const word = t.toUpperCase();
    if (words.length < 3 && /^\w+$/.test(t)) {
      words.push(word);
      trigger = words[0] === 'CREATE' && (words[1] === 'TRIGGER' || /^TEMP/.test(words[1] || '') && words[2] === 'TRIGGER');
    }
    if (word === 'CASE') depth++;
    else if (word === 'END' && depth > 0) { depth--; last = ''; continue; }
    last = word;
  }
  end(text.length);
  return out;
}

function quoteName(name) {
  return '"' + name.replaceAll('"', '""') + '"';
}

/* An integer that a double cannot hold stays as its digits. */
class Digits {
  constructor(text) { this.text = text; }
  toString() { return this.text; }
}

function parseExact(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g,
    t => t.length < 16 || !/^-?\d+$/.test(t) || Number.isSafeInteger(Number(t)) ? t : '{"\\u0000int":"' + t + '"}');
  return JSON.parse(marked,
    (key, v) => v !== null && typeof v === 'object' && typeof v['\u0000int'] === 'string' ? new Digits(v['\u0000int']) : v);
}

/* Values as CSV (RFC 4180). */
function toCsv(columns, rows) {
  const field = v => {
    const s = v === null ? '' : Array.isArray(v) ? hex(v) : String(v);
    return /[",\r\n]/.test(s) ? '"' + s.replaceAll('"', '""') + '"' : s;
  };
  return [columns, ...rows].map(r => r.map(field).join(',')).join('\r\n') + '\r\n';
}

function hex(bytes) {
  return bytes.map(b => b.toString(16).padStart(2, '0')).join('');
}

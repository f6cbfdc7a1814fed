// Chinook through rqlite-js; see test_clients.py for what is expected of these programs.
import fs from 'node:fs'
import rqlite from 'rqlite-js'

const { DataApiClient } = rqlite
const [command, list, path] = process.argv.slice(2)
const client = new DataApiClient(list.split(',').map((host) => `http://${host}`))

function check (results) {
  if (results.hasError()) throw results.getFirstError()
  return results
}

async function chinook () {
  const tables = JSON.parse(fs.readFileSync(path, 'utf8'))
  for (const [name, table] of Object.entries(tables)) {
    check(await client.execute(table.create))
    const marks = table.rows[0].map(() => '?').join(', ')
    for (let i = 0; i < table.rows.length; i += 500) {
      const statements = table.rows.slice(i, i + 500).map((row) => [`INSERT INTO ${name} VALUES (${marks})`, ...row])
      check(await client.execute(statements, { transaction: true }))
    }
  }
  for (const [name, table] of Object.entries(tables)) {
    const rows = check(await client.query(`SELECT * FROM ${name} ORDER BY 1`, { level: 'strong' })).toArray()
    rows.forEach((row, i) => {
      if (JSON.stringify(Object.values(row)) !== JSON.stringify(table.rows[i])) {
        throw new Error(`${name}, row ${i}: ${JSON.stringify(row)}`)
      }
    })
    console.log('rows', name, rows.length)
  }
  const one = check(await client.query([['SELECT Name FROM Artist WHERE ArtistId = ?', 90]], { level: 'strong' }))
  console.log('name', one.get(0).get('Name'))
}

async function write () {
  for (let written = 0; ;) {
    try {
      check(await client.execute([['INSERT OR IGNORE INTO acked VALUES (?)', written]]))
      console.log(written++)
    } catch (e) {
      console.error('retry', e.message || e)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

await (command === 'chinook' ? chinook() : write())

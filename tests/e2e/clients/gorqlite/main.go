// Chinook through gorqlite; see test_clients.py for what is expected of these programs.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rqlite/gorqlite"
)

type table struct {
	Create string          `json:"create"`
	Rows   [][]interface{} `json:"rows"`
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func connect(host string) (*gorqlite.Connection, error) {
	return gorqlite.Open("http://" + host + "/?timeout=10")
}

func chinook(hosts []string, path string) {
	data, err := os.ReadFile(path)
	check(err)
	var tables map[string]table
	check(json.Unmarshal(data, &tables))
	db, err := connect(hosts[0])
	check(err)
	for name, t := range tables {
		_, err := db.WriteOne(t.Create)
		check(err)
		marks := strings.TrimSuffix(strings.Repeat("?,", len(t.Rows[0])), ",")
		var statements []gorqlite.ParameterizedStatement
		for _, row := range t.Rows {
			statements = append(statements, gorqlite.ParameterizedStatement{
				Query: "INSERT INTO " + name + " VALUES (" + marks + ")", Arguments: row})
		}
		_, err = db.WriteParameterized(statements)
		check(err)
	}
	for name, t := range tables {
		rows, err := db.QueryOne("SELECT * FROM " + name + " ORDER BY 1")
		check(err)
		for i := 0; rows.Next(); i++ {
			got, err := rows.Slice()
			check(err)
			for k, want := range t.Rows[i] {
				if fmt.Sprint(got[k]) != fmt.Sprint(want) {
					check(fmt.Errorf("%s, row %d: %v is not %v", name, i, got[k], want))
				}
			}
		}
		fmt.Println("rows", name, rows.NumRows())
	}
	one, err := db.QueryOneParameterized(gorqlite.ParameterizedStatement{
		Query: "SELECT Name FROM Artist WHERE ArtistId = ?", Arguments: []interface{}{90}})
	check(err)
	var artist string
	one.Next()
	check(one.Scan(&artist))
	fmt.Println("name", artist)
}

// The library finds the other nodes and the leader by itself.
func write(hosts []string) {
	db, err := connect(hosts[0])
	check(err)
	for written, at := 0, 0; ; {
		_, err := db.WriteOneParameterized(gorqlite.ParameterizedStatement{
			Query: "INSERT OR IGNORE INTO acked VALUES (?)", Arguments: []interface{}{written}})
		if err == nil {
			fmt.Println(written)
			written++
			continue
		}
		fmt.Fprintln(os.Stderr, "retry", err)
		time.Sleep(50 * time.Millisecond)
		at = (at + 1) % len(hosts)
		if again, err := connect(hosts[at]); err == nil {
			db = again
		}
	}
}

func main() {
	hosts := strings.Split(os.Args[2], ",")
	if os.Args[1] == "chinook" {
		chinook(hosts, os.Args[3])
	} else {
		write(hosts)
	}
}

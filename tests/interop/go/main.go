// Scenarios of the Go SDK against a running server. A scenario plays its participants itself.
//
// usage: interop SCENARIO URL ROOM KEY SECRET TOPOLOGY [ARGUMENT…]
//
// TOPOLOGY is single-pc or dual-pc: the peer connections of each participant.
// Prints "ok …" for each step and "passed" at the end; exits 1 at the first step that fails.
// A line "ask …" asks whoever started the program to do something; the next line of standard input
// says that it is done.
package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

// patience is how long a step may take.
const patience = 15 * time.Second

// stage is where a scenario plays: a room of its own on the server under test.
type stage struct {
	url, room, key, secret string
	singlePC               bool // each participant has one peer connection instead of two
	arguments              []string
}

var scenarios = map[string]func(*stage){}

func init() {
	for _, part := range []map[string]func(*stage){
		mediaScenarios, dataScenarios, rpcScenarios, participantScenarios, reconnectScenarios,
		e2eeScenarios, apiScenarios,
	} {
		for name, scenario := range part {
			scenarios[name] = scenario
		}
	}
}

var orders = bufio.NewScanner(os.Stdin)

// ask has whoever started the program do something and returns when that is done.
func ask(what string) {
	fmt.Println("ask", what)
	if !orders.Scan() {
		fail("nobody answered %q", what)
	}
}

func ok(format string, values ...any) { fmt.Printf("ok "+format+"\n", values...) }

func fail(format string, values ...any) {
	fmt.Printf("failed: "+format+"\n", values...)
	os.Exit(1)
}

func must(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

// check ends the program unless what it is told is true.
func check(holds bool, format string, values ...any) {
	if !holds {
		fail(format, values...)
	}
}

// eventually returns once a condition holds that no event announces.
func eventually(what string, holds func() bool) {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		check(time.Now().Before(deadline), "timed out waiting for %s", what)
	}
	ok("%s", what)
}

func main() {
	if len(os.Args) < 7 {
		fail("usage: interop SCENARIO URL ROOM KEY SECRET TOPOLOGY [ARGUMENT…]")
	}
	play, found := scenarios[os.Args[1]]
	check(found, "no scenario is called %q", os.Args[1])
	play(&stage{os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6] == "single-pc", os.Args[7:]})
	fmt.Println("passed")
}

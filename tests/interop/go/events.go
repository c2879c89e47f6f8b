package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// events holds what one participant was told, until a step waits for it.
type events struct {
	lock    sync.Mutex
	seen    []string
	changed chan struct{} // closed and replaced when something is put in
}

func newEvents() *events { return &events{changed: make(chan struct{})} }

func (e *events) put(format string, values ...any) {
	e.lock.Lock()
	defer e.lock.Unlock()
	e.seen = append(e.seen, fmt.Sprintf(format, values...))
	close(e.changed)
	e.changed = make(chan struct{})
}

// take removes the first event that equals want and returns whether there was one; the channel is
// closed at the next event.
func (e *events) take(want string) (bool, <-chan struct{}) {
	e.lock.Lock()
	defer e.lock.Unlock()
	at := slices.Index(e.seen, want)
	if at >= 0 {
		e.seen = slices.Delete(e.seen, at, at+1)
	}
	return at >= 0, e.changed
}

// wait returns once an event was reported that no earlier wait took.
func (e *events) wait(format string, values ...any) {
	want := fmt.Sprintf(format, values...)
	for timeout := time.After(patience); ; {
		found, changed := e.take(want)
		if found {
			ok("%s", want)
			return
		}
		select {
		case <-changed:
		case <-timeout:
			e.lock.Lock()
			fail("timed out waiting for %q; came instead: %q", want, e.seen)
		}
	}
}

// not fails if an event was reported that no wait took.
func (e *events) not(format string, values ...any) {
	want := fmt.Sprintf(format, values...)
	found, _ := e.take(want)
	check(!found, "there must be no %q", want)
	ok("no %s", want)
}

package main

import (
	"fmt"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

var reconnectScenarios = map[string]func(*stage){
	"signal-reconnect": func(s *stage) { resumes(s, simulate(lksdk.SimulateSignalReconnect)) },
	"signal-cut":       func(s *stage) { resumes(s, func(*client) { ask("cut") }) },
	"signal-away":      signalAway,
	"changes-in-a-cut": changesInACut,
	"node-failure":     func(s *stage) { restarts(s, lksdk.SimulateNodeFailure) },
	"migration":        func(s *stage) { restarts(s, lksdk.SimulateMigration) },
	"server-leave":     serverLeave,
	"speaker":          speakerScenario,
}

func simulate(scenario lksdk.SimulateScenario) func(*client) {
	return func(c *client) { c.Simulate(scenario) }
}

// call is alice, whose signal connection passes the URL that was given as an argument, if any, and
// bob; each speaks and hears the other.
func call(s *stage) (alice, bob *client) {
	url := s.url
	if len(s.arguments) > 0 {
		url = s.arguments[0]
	}
	bob = s.join("bob")
	alice = s.joinWith(url, s.token("alice", ownMetadata))
	alice.speak("hello")
	bob.speak("hi")
	bob.perceives("alice", "voice", "hello")
	alice.perceives("bob", "voice", "hi")
	return alice, bob
}

// goesOn checks that media and data pass both ways.
func goesOn(alice, bob *client) {
	bob.perceives("alice", "voice", "hello")
	alice.perceives("bob", "voice", "hi")
	alice.sendData("still there?", reliable)
	bob.wait(`data "alice" "" still there?`)
	bob.sendData("yes", reliable)
	alice.wait(`data "bob" "" yes`)
	alice.LocalParticipant.SetAttributes(map[string]string{"hand": "up"})
	bob.wait("attributes alice map[hand:up]")
}

// A resume keeps the session: nobody leaves, tracks keep their ids, no packet is lost.
func resumes(s *stage, breaks func(*client)) {
	alice, bob := call(s)
	sid := alice.LocalParticipant.SID()
	track := bob.track("alice", "voice").SID()
	const each = 20
	for number := range each {
		bob.sendData(fmt.Sprintf("before %d", number), reliable)
	}
	breaks(alice)
	for number := range each {
		bob.sendData(fmt.Sprintf("during %d", number), reliable)
	}
	alice.wait("reconnecting")
	alice.wait("reconnected")
	for number := range each {
		alice.wait(`data "bob" "" before %d`, number)
		alice.wait(`data "bob" "" during %d`, number)
	}
	goesOn(alice, bob)
	check(alice.LocalParticipant.SID() == sid, "alice has another session")
	check(bob.track("alice", "voice").SID() == track, "the track has another id")
	bob.not("left alice")
	bob.not("unpublished alice voice")
	alice.not("ended bob voice")
	alice.not("disconnected")
}

// A signal connection that cannot be made again for a while: the SDK joins afresh when it can.
func signalAway(s *stage) {
	alice, bob := call(s)
	ask("close")
	alice.wait("reconnecting")
	ask("open after three seconds")
	alice.wait("reconnected")
	goesOn(alice, bob)
}

// What happens while the signal connection is cut is known after it.
func changesInACut(s *stage) {
	alice, bob := call(s)
	ask("close")
	alice.wait("reconnecting")
	carol := s.join("carol")
	carol.speak("news")
	for _, publication := range bob.LocalParticipant.TrackPublications() {
		publication.(*lksdk.LocalTrackPublication).SetMuted(true)
	}
	ask("open")
	alice.wait("reconnected")
	alice.perceives("carol", "voice", "news")
	eventually("bob to be muted", func() bool {
		voice := alice.track("bob", "voice")
		return voice != nil && voice.IsMuted()
	})
	carol.Disconnect()
	alice.wait("left carol")
}

// Whatever a scenario breaks, the SDK joins afresh or resumes, and the call goes on.
func restarts(s *stage, scenario lksdk.SimulateScenario) {
	alice, bob := call(s)
	alice.Simulate(scenario)
	alice.wait("reconnecting")
	alice.wait("reconnected")
	goesOn(alice, bob)
	alice.not("disconnected")
}

// The server ends the session for good.
func serverLeave(s *stage) {
	alice, bob := call(s)
	alice.Simulate(lksdk.SimulateServerLeave)
	alice.ended(livekit.DisconnectReason_SERVER_SHUTDOWN)
	bob.wait("left alice")
}

// The server says that the participant speaks, and later that nobody does.
func speakerScenario(s *stage) {
	alice := s.join("alice")
	alice.Simulate(lksdk.SimulateSpeakerUpdate)
	alice.wait("speakers [alice]")
	alice.wait("speakers []")
}

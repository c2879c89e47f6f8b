package main

import (
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

var mediaScenarios = map[string]func(*stage){
	"audio-and-video":      audioAndVideo,
	"simulcast":            simulcast,
	"subscriptions":        subscriptions,
	"no-auto-subscribe":    noAutoSubscribe,
	"track-permissions":    trackPermissions,
	"active-speakers":      activeSpeakers,
	"publish-with-joining": publishWithJoining,
}

// Audio and video arrive at who is there and at who comes later; muting, unpublishing and leaving
// are seen.
func audioAndVideo(s *stage) {
	bob, alice := s.join("bob"), s.join("alice")
	bob.wait("joined alice")
	voice := alice.speak("hello")
	alice.show("a face")
	bob.wait("published alice voice")
	bob.wait("subscribed alice voice audio/opus")
	bob.wait("subscribed alice face video/VP8")
	alice.wait("own track subscribed voice")
	bob.perceives("alice", "voice", "hello")
	bob.perceives("alice", "face", "a face")
	late := s.join("late")
	late.perceives("alice", "voice", "hello")
	late.perceives("alice", "face", "a face")

	voice.SetMuted(true)
	bob.wait("muted alice voice")
	bob.fallsSilent("alice", "voice")
	check(bob.track("alice", "voice").IsMuted(), "the publication must say that it is muted")
	voice.SetMuted(false)
	bob.wait("unmuted alice voice")
	bob.perceives("alice", "voice", "hello")

	must("unpublish", alice.LocalParticipant.UnpublishTrack(voice.SID()))
	bob.wait("unpublished alice voice")
	bob.wait("ended alice voice")
	bob.perceives("alice", "face", "a face")
	alice.speak("again")
	bob.perceives("alice", "voice", "again")
	alice.Disconnect()
	bob.wait("left alice CLIENT_INITIATED")
	late.wait("left alice CLIENT_INITIATED")
}

// A subscriber gets the layer that it asks for.
func simulcast(s *stage) {
	bob, alice := s.join("bob"), s.join("alice")
	published := alice.showLayers()
	check(len(published.TrackInfo().Layers) == 3, "three layers: %v", published.TrackInfo())
	bob.wait("subscribed alice face video/VP8")
	bob.perceives("alice", "face", "HIGH")
	seen := bob.track("alice", "face")
	check(seen.TrackInfo().Simulcast, "the publication must say simulcast: %v", seen.TrackInfo())
	for _, quality := range []livekit.VideoQuality{
		livekit.VideoQuality_LOW, livekit.VideoQuality_MEDIUM, livekit.VideoQuality_HIGH,
	} {
		must("quality", seen.SetVideoQuality(quality))
		bob.perceives("alice", "face", quality.String())
	}
	seen.SetVideoDimensions(320, 180)
	bob.perceives("alice", "face", "LOW")
	seen.SetVideoDimensions(1280, 720)
	bob.perceives("alice", "face", "HIGH")
	seen.SetEnabled(false)
	bob.fallsSilent("alice", "face")
	bob.staysSilent("alice", "face")
	seen.SetEnabled(true)
	bob.perceives("alice", "face", "HIGH")
}

// Ending a subscription ends the media; subscribing again brings it back.
func subscriptions(s *stage) {
	bob, alice := s.join("bob"), s.join("alice")
	alice.speak("hello")
	alice.show("a face")
	for range 2 {
		bob.perceives("alice", "voice", "hello")
		bob.perceives("alice", "face", "a face")
		bob.subscribe("alice", "voice", false)
		bob.wait("ended alice voice")
		bob.fallsSilent("alice", "voice")
		bob.perceives("alice", "face", "a face")
		bob.subscribe("alice", "face", false)
		bob.wait("ended alice face")
		bob.staysSilent("alice", "face")
		bob.subscribe("alice", "voice", true)
		bob.subscribe("alice", "face", true)
	}
	bob.perceives("alice", "voice", "hello")
	bob.perceives("alice", "face", "a face")
}

// Nothing is subscribed unless asked for.
func noAutoSubscribe(s *stage) {
	alice := s.join("alice")
	alice.speak("hello")
	bob := s.join("bob", lksdk.WithAutoSubscribe(false))
	alice.show("a face")
	bob.wait("published alice face")
	eventually("alice's voice to be known", func() bool { return bob.track("alice", "voice") != nil })
	bob.subscribe("alice", "face", true)
	bob.perceives("alice", "face", "a face")
	bob.not("subscribed alice voice audio/opus")
	bob.subscribe("alice", "voice", true)
	bob.perceives("alice", "voice", "hello")
}

// A publisher says who may subscribe, and changes its mind.
func trackPermissions(s *stage) {
	alice, bob, carol := s.join("alice"), s.join("bob"), s.join("carol")
	alice.LocalParticipant.SetSubscriptionPermission(&livekit.SubscriptionPermission{
		TrackPermissions: []*livekit.TrackPermission{{ParticipantIdentity: "bob", AllTracks: true}},
	})
	voice := alice.speak("hello")
	alice.show("a face")
	bob.perceives("alice", "voice", "hello")
	bob.perceives("alice", "face", "a face")
	carol.wait("published alice voice")
	carol.not("subscribed alice voice audio/opus")

	alice.LocalParticipant.SetSubscriptionPermission(&livekit.SubscriptionPermission{
		TrackPermissions: []*livekit.TrackPermission{
			{ParticipantIdentity: "carol", TrackSids: []string{voice.SID()}},
		},
	})
	carol.perceives("alice", "voice", "hello")
	carol.not("subscribed alice face video/VP8")
	bob.fallsSilent("alice", "voice")
	bob.fallsSilent("alice", "face")

	alice.LocalParticipant.SetSubscriptionPermission(&livekit.SubscriptionPermission{AllParticipants: true})
	for _, listener := range []*client{bob, carol} {
		listener.perceives("alice", "voice", "hello")
		listener.perceives("alice", "face", "a face")
	}
}

// Who speaks is announced to all, and that nobody does any more.
func activeSpeakers(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	voice := alice.speak("hello")
	bob.wait("speakers [alice]")
	alice.wait("speakers [alice]")
	check(bob.GetParticipantByIdentity("alice").IsSpeaking(), "alice must be speaking")
	voice.SetMuted(true)
	bob.wait("speakers []")
}

// Tracks that are given with the request to join are published when it is answered.
func publishWithJoining(s *stage) {
	bob := s.join("bob")
	track, err := lksdk.NewLocalTrack(opus)
	must("audio track", err)
	must("start", track.StartWrite(&sound{words: "hello"}, nil))
	options := &lksdk.TrackPublicationOptions{Name: "voice", Source: livekit.TrackSource_MICROPHONE}
	alice := s.join("alice", lksdk.WithSinglePeerConnection(), lksdk.WithTrack(track, options))
	bob.wait("subscribed alice voice audio/opus")
	bob.perceives("alice", "voice", "hello")
	check(len(alice.LocalParticipant.TrackPublications()) == 1, "one publication")
}

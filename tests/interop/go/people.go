package main

import (
	"context"
	"errors"
	"maps"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"google.golang.org/protobuf/proto"
)

var participantScenarios = map[string]func(*stage){
	"own-attributes":           ownAttributes,
	"attributes-not-permitted": attributesNotPermitted,
	"attributes-by-api":        attributesByAPI,
	"publish-permission":       publishPermission,
	"publish-sources":          publishSources,
	"subscribe-permission":     subscribePermission,
	"mute-by-api":              muteByAPI,
	"subscriptions-by-api":     subscriptionsByAPI,
	"data-by-api":              dataByAPI,
	"removed":                  removed,
	"room-deleted":             roomDeleted,
	"same-identity":            sameIdentity,
	"hidden":                   hidden,
	"refused":                  refused,
}

func (s *stage) rooms() *lksdk.RoomServiceClient {
	return lksdk.NewRoomServiceClient(s.url, s.key, s.secret)
}

func (s *stage) update(request *livekit.UpdateParticipantRequest) *livekit.ParticipantInfo {
	request.Room = s.room
	info, err := s.rooms().UpdateParticipant(context.Background(), request)
	must("update", err)
	return info
}

// Name, metadata and attributes that a participant sets reach who is there and who comes later.
func ownAttributes(s *stage) {
	alice, bob := s.joinWith(s.url, s.token("alice", ownMetadata)), s.join("bob")
	bob.sees("alice")
	alice.LocalParticipant.SetMetadata("a description")
	bob.wait("metadata alice a description")
	alice.wait("metadata alice a description")
	alice.LocalParticipant.SetName("Alice")
	seen := bob.GetParticipantByIdentity("alice")
	eventually("the name", func() bool { return seen.Name() == "Alice" })
	alice.LocalParticipant.SetAttributes(map[string]string{"hand": "up", "mood": "good"})
	bob.wait("attributes alice map[hand:up mood:good]")
	alice.wait("attributes alice map[hand:up mood:good]")
	alice.LocalParticipant.SetAttributes(map[string]string{"hand": ""})
	bob.wait("attributes alice map[hand:]")
	late := s.join("late").sees("alice")
	check(late.Name() == "Alice" && late.Metadata() == "a description", "got %q %q", late.Name(), late.Metadata())
	check(maps.Equal(late.Attributes(), map[string]string{"mood": "good"}), "got %v", late.Attributes())
}

// sees waits for a participant.
func (c *client) sees(identity string) *lksdk.RemoteParticipant {
	eventually("to see "+identity, func() bool { return c.GetParticipantByIdentity(identity) != nil })
	return c.GetParticipantByIdentity(identity)
}

// Who may not change its attributes does not.
func attributesNotPermitted(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	bob.sees("alice")
	alice.LocalParticipant.SetAttributes(map[string]string{"hand": "up"})
	alice.LocalParticipant.SetMetadata("unwanted")
	alice.sendData("later", reliable)
	bob.wait(`data "alice" "" later`)
	bob.not("attributes alice map[hand:up]")
	bob.not("metadata alice unwanted")
}

// What the server API changes is told to the participant itself and to the others.
func attributesByAPI(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	bob.sees("alice")
	s.update(&livekit.UpdateParticipantRequest{
		Identity: "alice", Name: "Alice", Metadata: "about her",
		Attributes: map[string]string{"role": "host"},
	})
	for _, c := range []*client{alice, bob} {
		c.wait("metadata alice about her")
		c.wait("attributes alice map[role:host]")
	}
	check(bob.sees("alice").Name() == "Alice", "the name is %q", bob.sees("alice").Name())
	check(alice.LocalParticipant.Name() == "Alice", "the own name is %q", alice.LocalParticipant.Name())
	_, err := s.rooms().UpdateRoomMetadata(context.Background(), &livekit.UpdateRoomMetadataRequest{
		Room: s.room, Metadata: "the topic",
	})
	must("room metadata", err)
	alice.wait("room metadata the topic")
	bob.wait("room metadata the topic")
	check(bob.Metadata() == "the topic", "the metadata is %q", bob.Metadata())
}

// Who may publish only a camera publishes nothing else. The SDK waits ten seconds for an answer.
func publishSources(s *stage) {
	onlyCamera := func(grant *auth.VideoGrant) {
		grant.SetCanPublishSources([]livekit.TrackSource{livekit.TrackSource_CAMERA})
	}
	alice, bob := s.joinWith(s.url, s.token("alice", onlyCamera)), s.join("bob")
	track, err := lksdk.NewLocalTrack(opus)
	must("track", err)
	_, err = alice.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: "refused"})
	check(errors.Is(err, lksdk.ErrTrackPublishTimeout), "a microphone must be refused: %v", err)
	alice.show("a face")
	bob.perceives("alice", "face", "a face")
	bob.not("published alice refused")
}

// The server API takes the permission to publish, and with it the tracks, and gives it again.
func publishPermission(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	alice.show("a face")
	bob.perceives("alice", "face", "a face")
	permission := &livekit.ParticipantPermission{CanSubscribe: true}
	info := s.update(&livekit.UpdateParticipantRequest{Identity: "alice", Permission: permission})
	check(len(info.Tracks) == 0, "tracks are left: %v", info.Tracks)
	bob.wait("unpublished alice face")
	alice.wait("own track unpublished face")
	eventually("to be told of no permission", func() bool {
		return !alice.LocalParticipant.Permissions().CanPublish
	})
	permission.CanPublish = true
	s.update(&livekit.UpdateParticipantRequest{Identity: "alice", Permission: permission})
	eventually("to be told of a permission", func() bool {
		return alice.LocalParticipant.Permissions().CanPublish
	})
	alice.speak("hello")
	bob.perceives("alice", "voice", "hello")
}

// Who may not subscribe hears nothing until the server API allows it.
func subscribePermission(s *stage) {
	alice := s.join("alice")
	alice.speak("hello")
	deaf := func(grant *auth.VideoGrant) { grant.SetCanSubscribe(false) }
	bob := s.joinWith(s.url, s.token("bob", deaf))
	eventually("to know the voice", func() bool { return bob.track("alice", "voice") != nil })
	bob.not("subscribed alice voice audio/opus")
	permission := &livekit.ParticipantPermission{CanSubscribe: true}
	s.update(&livekit.UpdateParticipantRequest{Identity: "bob", Permission: permission})
	bob.perceives("alice", "voice", "hello")
	permission = &livekit.ParticipantPermission{CanPublish: true}
	s.update(&livekit.UpdateParticipantRequest{Identity: "bob", Permission: permission})
	bob.fallsSilent("alice", "voice")
}

// The server API mutes a track: its owner and the others are told, and it falls silent.
func muteByAPI(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	voice := alice.speak("hello")
	bob.perceives("alice", "voice", "hello")
	answer, err := s.rooms().MutePublishedTrack(context.Background(), &livekit.MuteRoomTrackRequest{
		Room: s.room, Identity: "alice", TrackSid: voice.SID(), Muted: true,
	})
	must("mute", err)
	check(answer.Track.Sid == voice.SID() && answer.Track.Muted, "answered %v", answer.Track)
	alice.wait("muted alice voice")
	bob.wait("muted alice voice")
	bob.fallsSilent("alice", "voice")
	voice.SetMuted(false)
	bob.wait("unmuted alice voice")
	bob.perceives("alice", "voice", "hello")
}

// The server API ends a subscription and makes it again.
func subscriptionsByAPI(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	voice := alice.speak("hello")
	bob.perceives("alice", "voice", "hello")
	for _, wanted := range []bool{false, true} {
		_, err := s.rooms().UpdateSubscriptions(context.Background(), &livekit.UpdateSubscriptionsRequest{
			Room: s.room, Identity: "bob", TrackSids: []string{voice.SID()}, Subscribe: wanted,
		})
		must("subscriptions", err)
		if wanted {
			bob.perceives("alice", "voice", "hello")
		} else {
			bob.wait("ended alice voice")
			bob.fallsSilent("alice", "voice")
		}
	}
}

// Data of the server API comes from nobody, to one and to all.
func dataByAPI(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	// livekit-server drops what it sends before the channel is open.
	alice.sendData("open?", reliable)
	bob.wait(`data "alice" "" open?`)
	bob.sendData("open?", reliable)
	alice.wait(`data "bob" "" open?`)
	send := func(text string, to ...string) {
		_, err := s.rooms().SendData(context.Background(), &livekit.SendDataRequest{
			Room: s.room, Data: []byte(text), Topic: proto.String("t"), DestinationIdentities: to,
			Kind: livekit.DataPacket_RELIABLE,
		})
		must("data", err)
	}
	send("for bob", "bob")
	send("for all")
	bob.wait(`data "" "t" for bob`)
	bob.wait(`data "" "t" for all`)
	alice.wait(`data "" "t" for all`)
	alice.not(`data "" "t" for bob`)
}

// ended waits for the end of a session and checks its reason.
func (c *client) ended(reason livekit.DisconnectReason) {
	c.wait("disconnected")
	check(c.DisconnectReason() == reason, "the reason is %v, not %v", c.DisconnectReason(), reason)
}

func removed(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	bob.sees("alice")
	_, err := s.rooms().RemoveParticipant(context.Background(), &livekit.RoomParticipantIdentity{
		Room: s.room, Identity: "alice",
	})
	must("remove", err)
	alice.ended(livekit.DisconnectReason_PARTICIPANT_REMOVED)
	bob.wait("left alice PARTICIPANT_REMOVED")
}

func roomDeleted(s *stage) {
	alice := s.join("alice")
	_, err := s.rooms().DeleteRoom(context.Background(), &livekit.DeleteRoomRequest{Room: s.room})
	must("delete", err)
	alice.ended(livekit.DisconnectReason_ROOM_DELETED)
	check(alice.ConnectionState() == lksdk.ConnectionStateDisconnected, "still %v", alice.ConnectionState())
}

func sameIdentity(s *stage) {
	bob, first := s.join("bob"), s.join("alice")
	bob.sees("alice")
	second := s.join("alice")
	first.ended(livekit.DisconnectReason_DUPLICATE_IDENTITY)
	eventually("bob to see the second", func() bool {
		seen := bob.GetParticipantByIdentity("alice")
		return seen != nil && seen.SID() == second.LocalParticipant.SID()
	})
	second.speak("hello")
	bob.perceives("alice", "voice", "hello")
}

// A hidden participant hears and is not seen.
func hidden(s *stage) {
	alice := s.join("alice")
	alice.speak("hello")
	ghost := s.joinWith(s.url, s.token("ghost", func(grant *auth.VideoGrant) { grant.Hidden = true }))
	ghost.perceives("alice", "voice", "hello")
	s.join("bob")
	alice.wait("joined bob")
	alice.not("joined ghost")
	check(alice.GetParticipantByIdentity("ghost") == nil, "the ghost is seen")
}

// A token that does not let in: the SDK says why.
func refused(s *stage) {
	for why, token := range map[string]string{
		"wrong secret": (&stage{room: s.room, key: s.key, secret: "not the secret"}).token("alice", nil),
		"no room":      s.token("alice", func(grant *auth.VideoGrant) { grant.Room = "" }),
		"no permission": s.token("alice", func(grant *auth.VideoGrant) {
			grant.RoomJoin = false
		}),
		"no token": "nonsense",
	} {
		_, err := lksdk.ConnectToRoomWithToken(s.url, token, nil)
		check(err != nil, "%s: let in", why)
		ok("%s: %v", why, err)
	}
}

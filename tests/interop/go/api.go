package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/webhook"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/twitchtv/twirp"
)

var apiScenarios = map[string]func(*stage){
	"api-rooms":        apiRooms,
	"api-participants": apiParticipants,
	"api-dispatch":     apiDispatch,
	"api-refusals":     apiRefusals,
	"api-services":     apiServices,
	"webhooks":         webhooks,
}

// failsWith checks the Twirp error of a call.
func failsWith(what string, err error, code twirp.ErrorCode, message string) {
	var told twirp.Error
	check(errors.As(err, &told), "%s: %v", what, err)
	check(told.Code() == code && told.Msg() == message, "%s: %s %q", what, told.Code(), told.Msg())
	ok("%s: %s %s", what, code, message)
}

// Rooms are made, listed, changed and deleted.
func apiRooms(s *stage) {
	ctx, rooms := context.Background(), s.rooms()
	made, err := rooms.CreateRoom(ctx, &livekit.CreateRoomRequest{
		Name: s.room, EmptyTimeout: 60, DepartureTimeout: 7, MaxParticipants: 2, Metadata: "first",
	})
	must("create", err)
	check(made.Name == s.room && made.Sid != "" && made.CreationTime > 0, "made %v", made)
	check(made.EmptyTimeout == 60 && made.DepartureTimeout == 7 && made.MaxParticipants == 2, "made %v", made)
	again, err := rooms.CreateRoom(ctx, &livekit.CreateRoomRequest{Name: s.room})
	must("create", err)
	check(again.Sid == made.Sid, "made another room")
	changed, err := rooms.UpdateRoomMetadata(ctx, &livekit.UpdateRoomMetadataRequest{
		Room: s.room, Metadata: "second",
	})
	must("update", err)
	check(changed.Metadata == "second", "changed to %v", changed)
	listed, err := rooms.ListRooms(ctx, &livekit.ListRoomsRequest{Names: []string{s.room}})
	must("list", err)
	check(len(listed.Rooms) == 1 && listed.Rooms[0].Metadata == "second", "listed %v", listed)
	all, err := rooms.ListRooms(ctx, &livekit.ListRoomsRequest{})
	must("list", err)
	check(slices.ContainsFunc(all.Rooms, func(room *livekit.Room) bool { return room.Sid == made.Sid }), "not listed")

	s.join("alice")
	s.join("bob")
	_, err = lksdk.ConnectToRoomWithToken(s.url, s.token("carol", nil), nil)
	check(err != nil, "a third was let into a room for two")
	ok("full: %v", err)
	_, err = rooms.DeleteRoom(ctx, &livekit.DeleteRoomRequest{Room: s.room})
	must("delete", err)
	listed, err = rooms.ListRooms(ctx, &livekit.ListRoomsRequest{Names: []string{s.room}})
	must("list", err)
	check(len(listed.Rooms) == 0, "listed %v", listed)
}

// Participants are listed and told of, with their tracks.
func apiParticipants(s *stage) {
	ctx, rooms := context.Background(), s.rooms()
	alice := s.join("alice")
	voice := alice.speak("hello")
	s.join("bob")
	alice.wait("own track subscribed voice")
	listed, err := rooms.ListParticipants(ctx, &livekit.ListParticipantsRequest{Room: s.room})
	must("list", err)
	check(len(listed.Participants) == 2, "listed %v", listed)
	info, err := rooms.GetParticipant(ctx, &livekit.RoomParticipantIdentity{Room: s.room, Identity: "alice"})
	must("get", err)
	check(info.Sid == alice.LocalParticipant.SID(), "got %v", info)
	check(info.State == livekit.ParticipantInfo_ACTIVE && info.IsPublisher, "got %v", info)
	check(len(info.Tracks) == 1 && info.Tracks[0].Sid == voice.SID(), "got %v", info)
	check(info.Tracks[0].Source == livekit.TrackSource_MICROPHONE, "got %v", info.Tracks[0])
	ok("participants")
}

// Dispatches of agents are made, told of and deleted.
func apiDispatch(s *stage) {
	ctx := context.Background()
	dispatches := lksdk.NewAgentDispatchServiceClient(s.url, s.key, s.secret)
	_, err := s.rooms().CreateRoom(ctx, &livekit.CreateRoomRequest{Name: s.room})
	must("create", err)
	made, err := dispatches.CreateDispatch(ctx, &livekit.CreateAgentDispatchRequest{
		Room: s.room, AgentName: "helper", Metadata: "about it",
	})
	must("dispatch", err)
	check(made.Id != "" && made.AgentName == "helper" && made.Metadata == "about it", "made %v", made)
	got, err := dispatches.GetDispatch(ctx, made.Id, s.room)
	must("get", err)
	check(got != nil && got.Id == made.Id, "got %v", got)
	listed, err := dispatches.ListDispatch(ctx, &livekit.ListAgentDispatchRequest{Room: s.room})
	must("list", err)
	check(slices.ContainsFunc(listed.AgentDispatches, func(dispatch *livekit.AgentDispatch) bool {
		return dispatch.Id == made.Id
	}), "listed %v", listed)
	_, err = dispatches.DeleteDispatch(ctx, &livekit.DeleteAgentDispatchRequest{
		DispatchId: made.Id, Room: s.room,
	})
	must("delete", err)
	got, err = dispatches.GetDispatch(ctx, made.Id, s.room)
	must("get", err)
	check(got == nil, "still there: %v", got)
	ok("dispatches")
}

// What is asked for in vain fails with LiveKit's errors.
func apiRefusals(s *stage) {
	ctx, rooms := context.Background(), s.rooms()
	// Tokens are looked at before Twirp is, whose client makes this of it.
	const unauthorized = `Error from intermediary with HTTP status code 401 "Unauthorized"`
	for _, refused := range []struct {
		what string
		call func() error
		code twirp.ErrorCode
		text string
	}{
		{"participants of no room", func() error {
			_, err := rooms.GetParticipant(ctx, &livekit.RoomParticipantIdentity{Room: s.room, Identity: "x"})
			return err
		}, twirp.NotFound, "participant does not exist"},
		{"a participant that is not there", func() error {
			_, err := rooms.RemoveParticipant(ctx, &livekit.RoomParticipantIdentity{Room: s.room, Identity: "x"})
			return err
		}, twirp.NotFound, "participant does not exist"},
		{"metadata of no room", func() error {
			_, err := rooms.UpdateRoomMetadata(ctx, &livekit.UpdateRoomMetadataRequest{Room: s.room})
			return err
		}, twirp.NotFound, "requested room does not exist"},
		{"another secret", func() error {
			_, err := lksdk.NewRoomServiceClient(s.url, s.key, "not the secret").ListRooms(ctx, &livekit.ListRoomsRequest{})
			return err
		}, twirp.Unauthenticated, unauthorized},
		{"another key", func() error {
			_, err := lksdk.NewRoomServiceClient(s.url, "nobody", s.secret).ListRooms(ctx, &livekit.ListRoomsRequest{})
			return err
		}, twirp.Unauthenticated, unauthorized},
	} {
		failsWith(refused.what, refused.call(), refused.code, refused.text)
	}
}

// Services that need processes of their own answer as LiveKit does without them.
func apiServices(s *stage) {
	ctx := context.Background()
	egress := lksdk.NewEgressClient(s.url, s.key, s.secret)
	ingress := lksdk.NewIngressClient(s.url, s.key, s.secret)
	sip := lksdk.NewSIPClient(s.url, s.key, s.secret)
	_, err := egress.StartRoomCompositeEgress(ctx, &livekit.RoomCompositeEgressRequest{RoomName: s.room})
	failsWith("egress of no room", err, twirp.NotFound, "requested room does not exist")
	_, err = egress.ListEgress(ctx, &livekit.ListEgressRequest{})
	failsWith("egresses", err, twirp.Internal, "egress not connected (redis required)")
	_, err = egress.StopEgress(ctx, &livekit.StopEgressRequest{EgressId: "EG_x"})
	failsWith("end of an egress", err, twirp.Internal, "egress not connected (redis required)")
	_, err = ingress.CreateIngress(ctx, &livekit.CreateIngressRequest{Name: "x"})
	failsWith("ingress", err, twirp.Internal, "ingress not connected (redis required)")
	_, err = ingress.ListIngress(ctx, &livekit.ListIngressRequest{})
	failsWith("ingresses", err, twirp.Internal, "ingress not connected (redis required)")
	_, err = sip.ListSIPInboundTrunk(ctx, &livekit.ListSIPInboundTrunkRequest{})
	var told twirp.Error
	if errors.As(err, &told) && told.Code() == twirp.BadRoute {
		ok("this server was built without SIP")
		return
	}
	failsWith("trunks", err, twirp.Internal, "sip not connected (redis required)")
	_, err = sip.CreateSIPParticipant(ctx, &livekit.CreateSIPParticipantRequest{RoomName: s.room})
	failsWith("a call", err, twirp.Internal, "sip not connected (redis required)")
}

// What the server reports is signed, and comes in the order in which it happened.
func webhooks(s *stage) {
	listener, err := net.Listen("tcp", "127.0.0.1:"+s.arguments[0])
	must("listen", err)
	reported := newEvents()
	keys := auth.NewSimpleKeyProvider(s.key, s.secret)
	others := auth.NewSimpleKeyProvider(s.key, "not the secret")
	go http.Serve(listener, http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		token := request.Header.Get("Authorization")
		event, err := webhook.ReceiveWebhookEvent(request, keys)
		must("webhook", err)
		if event.Room.GetName() != s.room {
			return
		}
		verifier, err := auth.ParseAPIToken(token)
		must("webhook's token", err)
		_, _, err = verifier.Verify(others.GetSecret(s.key))
		check(err != nil, "the webhook's token fits another secret")
		reported.put("%s %s %s", event.Event, event.Participant.GetIdentity(), event.Track.GetName())
	}))
	alice := s.join("alice")
	voice := alice.speak("hello")
	reported.wait("track_published alice voice")
	must("unpublish", alice.LocalParticipant.UnpublishTrack(voice.SID()))
	reported.wait("track_unpublished alice voice")
	alice.Disconnect()
	reported.wait("participant_left alice ")
	_, err = s.rooms().DeleteRoom(context.Background(), &livekit.DeleteRoomRequest{Room: s.room})
	must("delete", err)
	reported.wait("room_finished  ")
	check(slices.Equal(reported.seen, []string{"room_started  ", "participant_joined alice "}), "also: %q", reported.seen)
}

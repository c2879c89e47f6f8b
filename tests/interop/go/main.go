// Two participants of the Go SDK in one room: media, mute, data, attributes, RPC.
// usage: interop URL ROOM KEY SECRET; prints one line per step, exits 1 at the first that fails.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
)

type events chan string

// wait returns once want was reported; other events are passed over.
func (e events) wait(want string) {
	timeout := time.After(15 * time.Second)
	for {
		select {
		case got := <-e:
			if got == want {
				fmt.Println("ok", want)
				return
			}
		case <-timeout:
			fail("timed out waiting for %s", want)
		}
	}
}

func (e events) put(format string, values ...any) {
	select {
	case e <- fmt.Sprintf(format, values...):
	default:
	}
}

func fail(format string, values ...any) {
	fmt.Printf(format+"\n", values...)
	os.Exit(1)
}

func must(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func join(url, room, key, secret, identity string, seen events) *lksdk.Room {
	callback := &lksdk.RoomCallback{
		OnParticipantDisconnected: func(p *lksdk.RemoteParticipant) { seen.put("left %s", p.Identity()) },
		ParticipantCallback: lksdk.ParticipantCallback{
			OnTrackSubscribed: func(t *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant) {
				for range 20 {
					if _, _, err := t.ReadRTP(); err != nil {
						return
					}
				}
				seen.put("media %s %s", t.Codec().MimeType, p.Identity())
			},
			OnTrackMuted:   func(_ lksdk.TrackPublication, p lksdk.Participant) { seen.put("muted %s", p.Identity()) },
			OnTrackUnmuted: func(_ lksdk.TrackPublication, p lksdk.Participant) { seen.put("unmuted %s", p.Identity()) },
			OnTrackUnpublished: func(_ *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant) {
				seen.put("unpublished %s", p.Identity())
			},
			OnAttributesChanged: func(changed map[string]string, p lksdk.Participant) {
				seen.put("attributes %s %v", p.Identity(), changed)
			},
			OnDataPacket: func(packet lksdk.DataPacket, params lksdk.DataReceiveParams) {
				if user, ok := packet.(*lksdk.UserDataPacket); ok {
					seen.put("data %s %s", params.SenderIdentity, user.Payload)
				}
			},
		},
	}
	token, err := joinToken(key, secret, room, identity)
	must("token", err)
	client, err := lksdk.ConnectToRoomWithToken(url, token, callback)
	must("connect", err)
	return client
}

func publish(room *lksdk.Room) *lksdk.LocalTrackPublication {
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2})
	must("track", err)
	track.OnBind(func() { _ = track.StartWrite(lksdk.NewNullSampleProvider(64000), nil) })
	options := &lksdk.TrackPublicationOptions{Name: "noise", Source: livekit.TrackSource_MICROPHONE}
	publication, err := room.LocalParticipant.PublishTrack(track, options)
	must("publish", err)
	return publication
}

func main() {
	url, room, key, secret := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	seen := make(events, 100)
	bob := join(url, room, key, secret, "bob", seen)
	alice := join(url, room, key, secret, "alice", make(events, 100))

	publication := publish(alice)
	seen.wait("media audio/opus alice")
	publication.SetMuted(true)
	seen.wait("muted alice")
	publication.SetMuted(false)
	seen.wait("unmuted alice")

	alice.LocalParticipant.SetAttributes(map[string]string{"hand": "up"})
	seen.wait("attributes alice map[hand:up]")
	must("data", alice.LocalParticipant.PublishDataPacket(lksdk.UserData([]byte("hello")), lksdk.WithDataPublishReliable(true)))
	seen.wait("data alice hello")

	must("method", bob.RegisterRpcMethod("greet", func(call lksdk.RpcInvocationData) (string, error) {
		return "hello " + call.CallerIdentity + ": " + call.Payload, nil
	}))
	answer, err := alice.LocalParticipant.PerformRpc(lksdk.PerformRpcParams{DestinationIdentity: "bob", Method: "greet", Payload: "ping"})
	must("rpc", err)
	if *answer != "hello alice: ping" {
		fail("rpc answered %q", *answer)
	}
	fmt.Println("ok rpc")

	must("unpublish", alice.LocalParticipant.UnpublishTrack(publication.SID()))
	seen.wait("unpublished alice")
	alice.Disconnect()
	seen.wait("left alice")
	bob.Disconnect()
	fmt.Println("passed")
}

package main

import (
	"fmt"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
)

// client is one participant: the SDK's room, what it was told and what it hears and sees.
type client struct {
	*lksdk.Room
	*events
	*senses
}

// token is a join token; change narrows or widens what it grants.
func (s *stage) token(identity string, change func(*auth.VideoGrant)) string {
	grant := &auth.VideoGrant{RoomJoin: true, Room: s.room}
	if change != nil {
		change(grant)
	}
	token, err := auth.NewAccessToken(s.key, s.secret).SetVideoGrant(grant).SetIdentity(identity).ToJWT()
	must("token", err)
	return token
}

func ownMetadata(grant *auth.VideoGrant) { grant.SetCanUpdateOwnMetadata(true) }

// join connects a participant that may do what a plain token allows.
func (s *stage) join(identity string, options ...lksdk.ConnectOption) *client {
	return s.joinWith(s.url, s.token(identity, nil), options...)
}

func (s *stage) joinWith(url, token string, options ...lksdk.ConnectOption) *client {
	told := newEvents()
	c := &client{events: told, senses: newSenses(told)}
	if s.singlePC {
		options = append(options, lksdk.WithSinglePeerConnection())
	}
	room, err := lksdk.ConnectToRoomWithToken(url, token, c.callback(), options...)
	must("connect", err)
	c.Room = room
	return c
}

// callback reports what the SDK tells as one line each.
func (c *client) callback() *lksdk.RoomCallback {
	return &lksdk.RoomCallback{
		OnDisconnected:         func() { c.put("disconnected") },
		OnReconnecting:         func() { c.put("reconnecting") },
		OnReconnected:          func() { c.put("reconnected") },
		OnParticipantConnected: func(p *lksdk.RemoteParticipant) { c.put("joined %s", p.Identity()) },
		OnParticipantDisconnected: func(p *lksdk.RemoteParticipant) {
			c.put("left %s", p.Identity())
			c.put("left %s %s", p.Identity(), p.DisconnectReason())
		},
		OnRoomMetadataChanged: func(metadata string) { c.put("room metadata %s", metadata) },
		OnActiveSpeakersChanged: func(speakers []lksdk.Participant) {
			var names []string
			for _, p := range speakers {
				names = append(names, p.Identity())
			}
			c.put("speakers %v", names)
		},
		OnLocalTrackSubscribed: func(p *lksdk.LocalTrackPublication, _ *lksdk.LocalParticipant) {
			c.put("own track subscribed %s", p.Name())
		},
		ParticipantCallback: lksdk.ParticipantCallback{
			OnLocalTrackUnpublished: func(p *lksdk.LocalTrackPublication, _ *lksdk.LocalParticipant) {
				c.put("own track unpublished %s", p.Name())
			},
			OnTrackPublished: func(p *lksdk.RemoteTrackPublication, who *lksdk.RemoteParticipant) {
				c.put("published %s %s", who.Identity(), p.Name())
			},
			OnTrackUnpublished: func(p *lksdk.RemoteTrackPublication, who *lksdk.RemoteParticipant) {
				c.put("unpublished %s %s", who.Identity(), p.Name())
			},
			OnTrackSubscribed: func(t *webrtc.TrackRemote, p *lksdk.RemoteTrackPublication, who *lksdk.RemoteParticipant) {
				c.put("subscribed %s %s %s", who.Identity(), p.Name(), t.Codec().MimeType)
				go c.follow(t, fmt.Sprintf("%s %s", who.Identity(), p.Name()))
			},
			OnTrackMuted: func(p lksdk.TrackPublication, who lksdk.Participant) {
				c.put("muted %s %s", who.Identity(), p.Name())
			},
			OnTrackUnmuted: func(p lksdk.TrackPublication, who lksdk.Participant) {
				c.put("unmuted %s %s", who.Identity(), p.Name())
			},
			OnMetadataChanged: func(_ string, who lksdk.Participant) {
				c.put("metadata %s %s", who.Identity(), who.Metadata())
			},
			OnAttributesChanged: func(changed map[string]string, who lksdk.Participant) {
				c.put("attributes %s %v", who.Identity(), changed)
			},
			OnDataPacket: func(packet lksdk.DataPacket, from lksdk.DataReceiveParams) {
				switch p := packet.(type) {
				case *lksdk.UserDataPacket:
					c.put("data %q %q %s", from.SenderIdentity, p.Topic, p.Payload)
				case *livekit.SipDTMF:
					c.put("dtmf %q %d %s", from.SenderIdentity, p.Code, p.Digit)
				case *livekit.ChatMessage:
					c.put("chat %q %s", from.SenderIdentity, p.Message)
				}
			},
		},
	}
}

// track is what c has of a publication of another one; nil while there is none.
func (c *client) track(identity, name string) *lksdk.RemoteTrackPublication {
	who := c.GetParticipantByIdentity(identity)
	if who == nil {
		return nil
	}
	for _, found := range who.TrackPublications() {
		if found.Name() == name {
			return found.(*lksdk.RemoteTrackPublication)
		}
	}
	return nil
}

// subscribe subscribes to a track, or ends that.
func (c *client) subscribe(identity, name string, wanted bool) {
	must("subscription", c.track(identity, name).SetSubscribed(wanted))
}

package main

import "github.com/livekit/protocol/auth"

// joinToken is a join token for room whose holder may change its own attributes.
func joinToken(key, secret, room, identity string) (string, error) {
	updateOwn := true
	grant := &auth.VideoGrant{RoomJoin: true, Room: room, CanUpdateOwnMetadata: &updateOwn}
	return auth.NewAccessToken(key, secret).SetVideoGrant(grant).SetIdentity(identity).ToJWT()
}

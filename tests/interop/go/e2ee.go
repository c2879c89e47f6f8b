package main

import (
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/livekit/server-sdk-go/v2/e2ee"
)

var e2eeScenarios = map[string]func(*stage){
	"encrypted-media":         encryptedMedia,
	"encrypted-data":          encryptedData,
	"encrypted-media-at-both": encryptedMediaAtBoth,
	"play-file":               playFile,
}

func keyOf(passphrase string) []byte {
	key, err := lksdk.DeriveKeyFromString(passphrase)
	must("key", err)
	return key
}

func providerOf(passphrase string) *e2ee.ExternalKeyProvider {
	provider := e2ee.NewExternalKeyProvider()
	must("key", provider.SetKeyFromPassphrase(passphrase, 0))
	return provider
}

func encryptorOf(passphrase string) lksdk.LocalTrackOptions {
	encryptor, err := lksdk.NewFrameEncryptor(providerOf(passphrase), lksdk.CodecOpus)
	must("encryptor", err)
	return lksdk.WithFrameEncryptor(encryptor)
}

var encrypted = &lksdk.TrackPublicationOptions{
	Name: "voice", Source: livekit.TrackSource_MICROPHONE, Encryption: livekit.Encryption_GCM,
}

// speakEncrypted publishes a microphone, "voice", that says words under a key.
func (c *client) speakEncrypted(words, passphrase string) {
	track, err := lksdk.NewLocalTrack(opus, encryptorOf(passphrase))
	must("audio track", err)
	must("start", track.StartWrite(&sound{words: words}, nil))
	_, err = c.LocalParticipant.PublishTrack(track, encrypted)
	must("publish", err)
}

// Encrypted audio is heard with the key, and neither with another key nor without one.
func encryptedMedia(s *stage) {
	bob, carol, dave, alice := s.join("bob"), s.join("carol"), s.join("dave"), s.join("alice")
	check(len(bob.SifTrailer()) > 0, "the server tells no trailer of its own frames")
	bob.useKey(keyOf("secret"))
	carol.useKey(keyOf("another"))
	alice.speakEncrypted("hello", "secret")
	bob.perceives("alice", "voice", "hello")
	told := bob.track("alice", "voice").TrackInfo().Encryption
	check(told == livekit.Encryption_GCM, "the track says %v", told)
	for _, listener := range []*client{carol, dave} {
		listener.wait("subscribed alice voice audio/opus")
		listener.staysSilent("alice", "voice")
	}
}

// Encrypted data is read with the key, and not without it.
func encryptedData(s *stage) {
	with := lksdk.WithDataEncryption(&lksdk.EncryptionOptions{KeyProvider: providerOf("secret")})
	alice, bob, carol := s.join("alice", with), s.join("bob", with), s.join("carol")
	alice.sendData("for who has the key", reliable)
	bob.wait(`data "alice" "" for who has the key`)
	texts := alice.texts("notes")
	bob.LocalParticipant.SendText(longText, lksdk.StreamTextOptions{Topic: "notes"})
	check(next("an encrypted text", texts).content == longText, "the text differs")
	must("method", bob.RegisterRpcMethod("greet", func(call lksdk.RpcInvocationData) (string, error) {
		return "hello " + call.Payload, nil
	}))
	answer, err := alice.call("bob", "greet", "alice", 0)
	must("rpc", err)
	check(answer == "hello alice", "answered %q", answer)
	carol.sendData("in the clear", reliable, lksdk.WithDataPublishDestination([]string{"carol", "bob"}))
	carol.not(`data "alice" "" for who has the key`)
}

// Go plays an encrypted file to a participant of another SDK and hears that one's encrypted audio.
func encryptedMediaAtBoth(s *stage) {
	path, passphrase := s.arguments[0], s.arguments[1]
	c := s.join("go")
	c.useKey(keyOf(passphrase))
	c.play(path, encrypted, encryptorOf(passphrase))
	c.opens("python", "tone")
	ask("listen")
}

// Go plays a file to a participant of another SDK.
func playFile(s *stage) {
	s.join("go").play(s.arguments[0], &lksdk.TrackPublicationOptions{Name: "voice"})
	ask("listen")
}

func (c *client) play(path string, options *lksdk.TrackPublicationOptions, with ...lksdk.LocalTrackOptions) {
	track, err := lksdk.NewLocalFileTrack(path, lksdk.ReaderTrackWithSampleOptions(with...))
	must("file", err)
	_, err = c.LocalParticipant.PublishTrack(track, options)
	must("publish", err)
}

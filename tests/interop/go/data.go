package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/livekit/protocol/auth"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

var dataScenarios = map[string]func(*stage){
	"data-packets":       dataPackets,
	"data-not-permitted": dataNotPermitted,
	"text-streams":       textStreams,
	"byte-streams":       byteStreams,
	"streams-to-others":  streamsToOthers,
}

var reliable = lksdk.WithDataPublishReliable(true)

func (c *client) sendData(text string, options ...lksdk.DataPublishOption) {
	must("data", c.LocalParticipant.PublishDataPacket(lksdk.UserData([]byte(text)), options...))
}

// Packets arrive with their topic, in order where they are reliable, at whom they are for.
func dataPackets(s *stage) {
	alice, bob, carol := s.join("alice"), s.join("bob"), s.join("carol")
	alice.sendData("hello", reliable, lksdk.WithDataPublishTopic("chat"))
	bob.wait(`data "alice" "chat" hello`)
	carol.wait(`data "alice" "chat" hello`)
	alice.sendData("for carol", reliable, lksdk.WithDataPublishDestination([]string{"carol"}))
	carol.wait(`data "alice" "" for carol`)
	bob.sendData("back", reliable, lksdk.WithDataPublishDestination([]string{"alice"}))
	alice.wait(`data "bob" "" back`)

	// The lossy channel loses nothing on the loopback, but it opens when it likes.
	arrived := false
	for range 50 {
		alice.sendData("lossy")
		time.Sleep(100 * time.Millisecond)
		if arrived, _ = bob.take(`data "alice" "" lossy`); arrived {
			break
		}
	}
	check(arrived, "no lossy packet arrived")
	ok("lossy")

	const count = 300
	for number := range count {
		alice.sendData(fmt.Sprintf("%d%s", number, strings.Repeat(" ", 1000)), reliable)
	}
	for number := range count {
		bob.wait(`data "alice" "" %d%s`, number, strings.Repeat(" ", 1000))
	}
	bob.not(`data "alice" "" for carol`)
	carol.not(`data "bob" "" back`)

	must("dtmf", alice.LocalParticipant.PublishDTMF(11, "#"))
	bob.wait(`dtmf "alice" 11 #`)
	chat := lksdk.ChatMessage(time.Time{}, "hi")
	must("chat", alice.LocalParticipant.PublishDataPacket(chat, reliable))
	bob.wait(`chat "alice" hi`)
}

// Who may not publish data reaches nobody.
func dataNotPermitted(s *stage) {
	mute := func(grant *auth.VideoGrant) { grant.SetCanPublishData(false) }
	alice, carol := s.joinWith(s.url, s.token("alice", mute)), s.join("carol")
	bob := s.join("bob")
	_ = alice.LocalParticipant.PublishDataPacket(lksdk.UserData([]byte("unwanted")), reliable)
	carol.sendData("wanted", reliable)
	bob.wait(`data "carol" "" wanted`)
	bob.not(`data "alice" "" unwanted`)
}

type text struct{ from, content, language string }

// texts hands on what arrives on a topic.
func (c *client) texts(topic string) <-chan text {
	found := make(chan text, 10)
	must("handler", c.RegisterTextStreamHandler(topic, func(reader *lksdk.TextStreamReader, from string) {
		found <- text{from, reader.ReadAll(), reader.Info.Attributes["language"]}
	}))
	return found
}

type file struct{ from, content, name, mime string }

func (c *client) files(topic string) <-chan file {
	found := make(chan file, 10)
	must("handler", c.RegisterByteStreamHandler(topic, func(reader *lksdk.ByteStreamReader, from string) {
		found <- file{from, string(reader.ReadAll()), *reader.Info.Name, reader.Info.MimeType}
	}))
	return found
}

// next is what comes out of a channel in time.
func next[T any](what string, found <-chan T) T {
	select {
	case got := <-found:
		ok("%s", what)
		return got
	case <-time.After(patience):
		fail("timed out waiting for %s", what)
		panic("not reached")
	}
}

// longText is a text of many chunks whose characters have one to four bytes.
var longText = strings.Repeat("0123456789 äöü € 🎈\n", 20_000)

// Texts of many chunks arrive whole, sent at once and in parts, at all and at one.
func textStreams(s *stage) {
	alice, bob, carol := s.join("alice"), s.join("bob"), s.join("carol")
	atBob, atCarol := bob.texts("notes"), carol.texts("notes")
	alice.LocalParticipant.SendText(longText, lksdk.StreamTextOptions{
		Topic: "notes", Attributes: map[string]string{"language": "none"},
	})
	for _, found := range []<-chan text{atBob, atCarol} {
		check(next("a long text", found) == text{"alice", longText, "none"}, "the text differs")
	}
	alice.LocalParticipant.SendText("for carol", lksdk.StreamTextOptions{
		Topic: "notes", DestinationIdentities: []string{"carol"},
	})
	check(next("a text for one", atCarol) == text{"alice", "for carol", ""}, "the text differs")

	atAlice := alice.texts("parts")
	var whole strings.Builder
	const parts = 20 // the SDK waits a fifth of a second for the acknowledgement of each
	written := make(chan struct{}, parts)
	done := func() { written <- struct{}{} }
	writer := bob.LocalParticipant.StreamText(lksdk.StreamTextOptions{Topic: "parts"})
	for number := range parts {
		line := fmt.Sprintf("line %d\n", number)
		whole.WriteString(line)
		writer.Write(line, &done)
	}
	for range parts {
		<-written
	}
	writer.Close()
	check(next("a text in parts", atAlice) == text{"bob", whole.String(), ""}, "the text differs")
	check(len(atBob) == 0, "bob got what was for carol")
}

// Bytes and files of many chunks arrive whole, with name and type.
func byteStreams(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	atAlice, atBob := alice.files("files"), bob.files("files")
	content := strings.Repeat("\x00\x01\xfe\xff noise", 60_000)
	directory, err := os.MkdirTemp("", "")
	must("directory", err)
	defer os.RemoveAll(directory)
	path := filepath.Join(directory, "noise.png")
	must("file", os.WriteFile(path, []byte(content), 0o600))
	name := "noise.png"
	_, err = alice.LocalParticipant.SendFile(path, lksdk.StreamBytesOptions{Topic: "files", FileName: &name})
	must("send", err)
	check(next("a file", atBob) == file{"alice", content, "noise.png", "image/png"}, "the file differs")

	name = "parts.bin"
	writer := bob.LocalParticipant.StreamBytes(lksdk.StreamBytesOptions{
		Topic: "files", FileName: &name, MimeType: "application/x-parts", TotalSize: uint64(len(content)),
	})
	written := make(chan struct{}, 1)
	done := func() { written <- struct{}{} }
	for start := 0; start < len(content); start += 50_000 {
		writer.Write([]byte(content[start:min(start+50_000, len(content))]), &done)
		<-written
	}
	writer.Close()
	got := next("bytes in parts", atAlice)
	check(got == file{"bob", content, "parts.bin", "application/x-parts"}, "the bytes differ")
}

// A participant of another SDK, "python", sends a text and a file and gets them back.
func streamsToOthers(s *stage) {
	c := s.join("go")
	texts, files := c.texts("out"), c.files("out")
	ask("send")
	got, found := next("a text", texts), next("a file", files)
	c.LocalParticipant.SendText(got.content, lksdk.StreamTextOptions{
		Topic: "back", Attributes: map[string]string{"language": got.language},
	})
	writer := c.LocalParticipant.StreamBytes(lksdk.StreamBytesOptions{
		Topic: "back", FileName: &found.name, MimeType: found.mime,
	})
	done := func() { writer.Close() }
	writer.Write([]byte(found.content), &done)
	answer, err := c.LocalParticipant.PerformRpc(lksdk.PerformRpcParams{
		DestinationIdentity: "python", Method: "double", Payload: "ab",
	})
	must("rpc", err)
	check(*answer == "abab", "python answered %q", *answer)
	must("method", c.RegisterRpcMethod("triple", func(call lksdk.RpcInvocationData) (string, error) {
		return strings.Repeat(call.Payload, 3), nil
	}))
	ask("compare")
}

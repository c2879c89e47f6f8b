package main

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// sound is fifty Opus frames a second that say the same words, at a level that counts as speech.
type sound struct {
	lksdk.BaseSampleProvider
	words string
}

func (s *sound) NextSample(context.Context) (media.Sample, error) {
	const oneFrameOf20ms = 0x78 // RFC 6716, 3.1: the table of contents of a packet
	return media.Sample{Data: frameOf([]byte{oneFrameOf20ms}, s.words, 80), Duration: 20 * time.Millisecond}, nil
}

func (s *sound) CurrentAudioLevel() uint8 { return 10 }

// picture is fifteen VP8 frames a second that say the same words, of three packets each. The first
// is a key frame, as is one after each request for one.
type picture struct {
	lksdk.BaseSampleProvider
	words         string
	width, height uint16
	keyFrame      atomic.Bool
}

func newPicture(words string, width, height uint16) *picture {
	p := &picture{words: words, width: width, height: height}
	p.keyFrame.Store(true)
	return p
}

func (p *picture) OnBind() error {
	p.keyFrame.Store(true)
	return nil
}

func (p *picture) NextSample(context.Context) (media.Sample, error) {
	header := []byte{0x11, 0, 0} // RFC 6386, 9.1: shown, not a key frame
	if p.keyFrame.Swap(false) {
		header = []byte{0x10, 0, 0, 0x9d, 0x01, 0x2a}
		header = binary.LittleEndian.AppendUint16(header, p.width)
		header = binary.LittleEndian.AppendUint16(header, p.height)
	}
	return media.Sample{Data: frameOf(header, p.words, 3000), Duration: time.Second / 15}, nil
}

func (p *picture) onRTCP(packet rtcp.Packet) {
	switch packet.(type) {
	case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
		p.keyFrame.Store(true)
	}
}

// track is a local VP8 track of the picture.
func (p *picture) track(options ...lksdk.LocalTrackOptions) *lksdk.LocalTrack {
	vp8 := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
	track, err := lksdk.NewLocalTrack(vp8, append(options, lksdk.WithRTCPHandler(p.onRTCP))...)
	must("video track", err)
	must("start", track.StartWrite(p, nil))
	return track
}

var opus = webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}

// speak publishes a microphone, "voice", that says words.
func (c *client) speak(words string) *lksdk.LocalTrackPublication {
	track, err := lksdk.NewLocalTrack(opus)
	must("audio track", err)
	must("start", track.StartWrite(&sound{words: words}, nil))
	options := &lksdk.TrackPublicationOptions{Name: "voice", Source: livekit.TrackSource_MICROPHONE}
	publication, err := c.LocalParticipant.PublishTrack(track, options)
	must("publish", err)
	return publication
}

// show publishes a camera, "face", that shows words.
func (c *client) show(words string) *lksdk.LocalTrackPublication {
	options := &lksdk.TrackPublicationOptions{
		Name: "face", Source: livekit.TrackSource_CAMERA, VideoWidth: 320, VideoHeight: 180,
	}
	publication, err := c.LocalParticipant.PublishTrack(newPicture(words, 320, 180).track(), options)
	must("publish", err)
	return publication
}

// layers are the simulcast layers of showLayers: each shows its own name.
var layers = []struct {
	quality       livekit.VideoQuality
	width, height uint16
}{
	{livekit.VideoQuality_LOW, 320, 180},
	{livekit.VideoQuality_MEDIUM, 640, 360},
	{livekit.VideoQuality_HIGH, 1280, 720},
}

// showLayers publishes a camera, "face", of three layers.
func (c *client) showLayers() *lksdk.LocalTrackPublication {
	var tracks []*lksdk.LocalTrack
	for _, layer := range layers {
		described := &livekit.VideoLayer{
			Quality: layer.quality, Width: uint32(layer.width), Height: uint32(layer.height),
		}
		shown := newPicture(layer.quality.String(), layer.width, layer.height)
		tracks = append(tracks, shown.track(lksdk.WithSimulcast("face", described)))
	}
	options := &lksdk.TrackPublicationOptions{Name: "face", Source: livekit.TrackSource_CAMERA}
	publication, err := c.LocalParticipant.PublishSimulcastTrack(tracks, options)
	must("publish", err)
	return publication
}

package main

import (
	"bytes"
	"sync"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

// senses holds what one participant hears and sees. A track's frames say in words what they show.
type senses struct {
	lock   sync.Mutex
	told   *events
	latest map[string]perception // by "identity track-name"
	key    []byte                // of encrypted audio; nil: it is not decrypted
}

type perception struct {
	words  string
	at     time.Time
	opened bool // was encrypted, with the key that is known
}

// useKey decrypts all audio with key from now on.
func (s *senses) useKey(key []byte) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.key = key
}

func newSenses(told *events) *senses {
	return &senses{told: told, latest: map[string]perception{}}
}

// follow reads a track to its end and notes each whole frame.
func (s *senses) follow(track *webrtc.TrackRemote, name string) {
	var frame []byte
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			s.told.put("ended %s", name)
			return
		}
		if len(packet.Payload) == 0 {
			continue // padding
		}
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			s.hear(name, packet.Payload)
			continue
		}
		var vp8 codecs.VP8Packet
		part, err := vp8.Unmarshal(packet.Payload)
		if err != nil {
			continue
		}
		if vp8.S == 1 && vp8.PID == 0 {
			frame = frame[:0]
		}
		frame = append(frame, part...)
		if packet.Marker {
			s.perceive(name, frame)
		}
	}
}

func (s *senses) hear(name string, frame []byte) {
	s.lock.Lock()
	key := s.key
	s.lock.Unlock()
	if key == nil {
		s.perceive(name, frame)
		return
	}
	plain, err := lksdk.DecryptGCMAudioSample(frame, key, nil)
	if err != nil {
		return
	}
	words, _ := wordsOf(plain)
	s.note(name, perception{words, time.Now(), true})
}

func (s *senses) perceive(name string, frame []byte) {
	if words, whole := wordsOf(frame); whole {
		s.note(name, perception{words, time.Now(), false})
	}
}

func (s *senses) note(name string, what perception) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.latest[name] = what
}

func (s *senses) perception(identity, name string) perception {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.latest[identity+" "+name]
}

// perceives waits for a frame that says want and comes after the call.
func (s *senses) perceives(identity, name, want string) {
	began := time.Now()
	eventually(identity+"'s "+name+" says "+want, func() bool {
		got := s.perception(identity, name)
		return got.at.After(began) && got.words == want
	})
}

// opens waits for audio that the key decrypts, whatever it says.
func (s *senses) opens(identity, name string) {
	eventually(identity+"'s "+name+" is decrypted", func() bool {
		return s.perception(identity, name).opened
	})
}

// fallsSilent waits for half a second without a frame.
func (s *senses) fallsSilent(identity, name string) {
	eventually(identity+"'s "+name+" is silent", func() bool {
		return time.Since(s.perception(identity, name).at) > 500*time.Millisecond
	})
}

// staysSilent fails if a frame comes within a second.
func (s *senses) staysSilent(identity, name string) {
	began := time.Now()
	time.Sleep(time.Second)
	check(s.perception(identity, name).at.Before(began), "%s's %s is not silent", identity, name)
	ok("%s's %s stays silent", identity, name)
}

// frameOf is the media of words after a codec's header: the words between brackets, padded to size.
func frameOf(header []byte, words string, size int) []byte {
	frame := append(bytes.Clone(header), '<')
	frame = append(frame, words...)
	frame = append(frame, '>')
	for len(frame) < size {
		frame = append(frame, '.')
	}
	return append(frame, '!')
}

// wordsOf are the words of a frame, if it came whole.
func wordsOf(frame []byte) (string, bool) {
	start, end := bytes.IndexByte(frame, '<'), bytes.IndexByte(frame, '>')
	if start < 0 || end < start || frame[len(frame)-1] != '!' {
		return "", false
	}
	return string(frame[start+1 : end]), true
}

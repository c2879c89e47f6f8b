"""GStreamer's webrtcbin publishes a tone and a colour by WHIP, until its standard input ends.

    python3 whip.py URL TOKEN h264|vp8 [trickle]

Runs in the Python that has GObject's bindings. Prints what happens, a line each; its certificate
is GStreamer's own, which is RSA.
"""

import sys
import threading
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

ENCODERS = {
    "h264": "openh264enc bitrate=300000 gop-size=15 ! h264parse config-interval=-1 "
    "! rtph264pay aggregate-mode=zero-latency ! application/x-rtp,media=video,"
    "encoding-name=H264,payload=96",
    "vp8": "vp8enc deadline=1 keyframe-max-dist=15 target-bitrate=300000 ! rtpvp8pay "
    "! application/x-rtp,media=video,encoding-name=VP8,payload=96",
}
PIPELINE = """
    webrtcbin name=peer bundle-policy=max-bundle
    audiotestsrc is-live=true freq=440 volume=0.5 ! audioconvert ! audioresample ! opusenc
      ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! peer.
    videotestsrc is-live=true pattern=blue ! video/x-raw,width=320,height=180,framerate=15/1
      ! videoconvert ! {encoder} ! peer.
"""


def say(*words: object) -> None:
    print(*words, flush=True)


class Publisher:
    def __init__(self, url: str, token: str, codec: str, *, trickle: bool) -> None:
        self.url, self.token, self.trickle = url, token, trickle
        self.session = ""
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.parse_launch(PIPELINE.format(encoder=ENCODERS[codec]))
        self.peer = self.pipeline.get_by_name("peer")
        self.peer.connect("on-negotiation-needed", self.negotiate)
        self.peer.connect("on-ice-candidate", self.candidate)
        self.peer.connect("notify::ice-gathering-state", self.gathered)
        self.peer.connect("notify::connection-state", self.connection_changed)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.failed)

    def negotiate(self, peer: Gst.Element) -> None:
        promise = Gst.Promise.new_with_change_func(self.offered)
        peer.emit("create-offer", None, promise)

    def offered(self, promise: Gst.Promise) -> None:
        reply = promise.get_reply()  # It owns what is in it.
        offer = reply.get_value("offer")
        self.peer.emit("set-local-description", offer, Gst.Promise.new())
        if self.trickle:
            self.post(offer.sdp.as_text())

    def gathered(self, peer: Gst.Element, _what: object) -> None:
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if not self.trickle and peer.get_property("ice-gathering-state") == complete:
            self.post(peer.get_property("local-description").sdp.as_text())

    def candidate(self, _peer: Gst.Element, line: int, candidate: str) -> None:
        if not self.trickle:
            return
        local = self.peer.get_property("local-description").sdp
        media = local.get_media(line)
        fragment = (
            f"a=ice-ufrag:{media.get_attribute_val('ice-ufrag')}\r\n"
            f"a=ice-pwd:{media.get_attribute_val('ice-pwd')}\r\n"
            f"m={media.get_media()} 9 UDP/TLS/RTP/SAVPF 0\r\n"
            f"a=mid:{media.get_attribute_val('mid')}\r\na={candidate}\r\n"
        )
        if candidate and self.session:
            self.request("PATCH", self.session, fragment, "application/trickle-ice-sdpfrag")

    def post(self, offer: str) -> None:
        reply, answer = self.request("POST", self.url + "/whip/v1", offer, "application/sdp")
        say("status", reply.status)
        self.session = self.url + reply.headers["Location"]
        _, sdp = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(answer.encode(), sdp)
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        description = GstWebRTC.WebRTCSessionDescription.new(kind, sdp)
        self.peer.emit("set-remote-description", description, Gst.Promise.new())

    def request(self, method: str, url: str, body: str, kind: str):
        request = urllib.request.Request(
            url,
            method=method,
            data=body.encode(),
            headers={"Content-Type": kind, "Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply, reply.read().decode()

    def connection_changed(self, peer: Gst.Element, _what: object) -> None:
        say("state", peer.get_property("connection-state").value_nick)

    def failed(self, _bus: Gst.Bus, message: Gst.Message) -> None:
        say("error", message.parse_error()[0].message)
        self.loop.quit()

    def run(self) -> None:
        threading.Thread(target=self.until_told, daemon=True).start()
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        if self.session:
            self.request("DELETE", self.session, "", "application/sdp")
        self.pipeline.set_state(Gst.State.NULL)

    def until_told(self) -> None:
        sys.stdin.read()
        GLib.idle_add(self.loop.quit)


if __name__ == "__main__":
    Gst.init(None)
    given = sys.argv[1:]
    Publisher(given[0], given[1], given[2], trickle="trickle" in given[3:]).run()

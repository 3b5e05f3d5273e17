"""A chat with Django Channels: one of several servers behind the same channel layer.

    browser ──WebSocket──► a consumer ──group_send──► Sterna
    browser ◄─WebSocket─── the consumers of the room, on every server ◄──┘

A message goes to the room's group and comes back to every browser from there, its sender's too.
"""

import os
import pathlib
import sys

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

sys.path.append(str(pathlib.Path(__file__).parents[1] / "python"))
import connection  # noqa: E402  (the address and the certificate, as for the other Python examples)

NAME = os.environ.get("SERVER_NAME", "north")
PAGE = pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8")
NAME_MAX = 24
TEXT_MAX = 2000


def channel_layer() -> dict:
    """The server's certificate is always verified."""
    host = {"address": connection.URL, **connection.trust()}
    return {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [host]}}


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    CHANNEL_LAYERS={"default": channel_layer()},
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "only for development"),
)
django.setup()


class Chat(AsyncJsonWebsocketConsumer):
    """One browser in one room."""

    async def connect(self):
        self.group = f"chat.{self.scope['url_route']['kwargs']['room']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.send_json({"server": NAME})

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content):
        # Nothing that comes from a browser is believed.
        name, text = str(content.get("name", "")).strip()[:NAME_MAX], str(content.get("text", "")).strip()[:TEXT_MAX]
        if name and text:
            await self.channel_layer.group_send(
                self.group, {"type": "chat.message", "name": name, "text": text, "via": NAME}
            )

    async def chat_message(self, event):
        await self.send_json({key: event[key] for key in ("name", "text", "via")})


def page(request, room):
    return HttpResponse(PAGE)


urlpatterns = [path("<slug:room>", page)]

application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(URLRouter([path("ws/<slug:room>", Chat.as_asgi())])),
    }
)

"""The colours of the miniature world, far enough apart to be distinguished by pixels."""

COLOURS = {
    "red": (215, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 222, 60),
    "green": (45, 160, 70),
    "blue": (45, 95, 215),
    "purple": (135, 60, 175),
    "pink": (246, 160, 200),
    "white": (246, 246, 246),
    "grey": (140, 142, 146),
    "black": (28, 28, 32),
}
"""Colours of backgrounds and objects."""

BACKGROUNDS = ("red", "yellow", "green", "blue", "purple", "pink", "white", "grey")
OBJECT_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
CLOTHES = {
    name: COLOURS[name]
    for name in ("red", "yellow", "green", "blue", "purple", "white", "black", "orange")
}
HAIR = {
    "black": (30, 26, 30),
    "brown": (112, 62, 28),
    "blonde": (238, 204, 100),
    "red": (196, 72, 22),
    "grey": (172, 174, 180),
}
SKIN = {
    "pale": (250, 222, 198),
    "tan": (226, 176, 132),
    "brown": (172, 118, 80),
    "dark": (122, 80, 56),
}

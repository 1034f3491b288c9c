"""The text of the pages, by the kind of question. Nothing here may name a model."""

ASK = {
    "grid": "Which group of pictures is more consistent?",
    "pair": "Which picture is better?",
    "rate": "How good is this picture?",
}

EXPLAIN = {
    "grid": (
        "You see two groups of pictures. All pictures of a group were made from the same words. A "
        "group is consistent when its pictures show the same things in the same manner; whether "
        "you like them does not matter."
    ),
    "pair": (
        "You see two pictures. Choose the better one by what you see: is everything in it as it "
        "should be, faces above all? Which of the two you would rather have made does not matter."
    ),
    "rate": (
        "You see one picture. Rate it from 1 (very bad) to 5 (very good) by what you see: is "
        "everything in it as it should be?"
    ),
}

EXAMPLE = {
    "grid": "Here the first group is more consistent: it shows the same thing over and over.",
    "pair": "Here the first picture is better: parts of the second are out of place.",
    "rate": "This picture deserves a 1: its parts are out of place.",
}

CHOICES = {
    "grid": ("1", "2"),
    "pair": ("1", "2"),
    "rate": ("1", "2", "3", "4", "5"),
}
"""Keys that answer; 0 is always “I cannot tell”."""

SIDES = {"grid": "Group", "pair": "Picture", "rate": "Picture"}

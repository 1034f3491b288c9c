from raypipe.__main__ import job

if __name__ == "__main__":
    job("face_lora")
